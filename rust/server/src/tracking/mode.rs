//! How a client wants to be told, as CLIENT TRACKING has set it.

/// Which reads count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OptIn {
    /// All.
    #[default]
    Always,
    /// Those behind CLIENT CACHING YES.
    In,
    /// All but those behind CLIENT CACHING NO.
    Out,
}

/// What CLIENT CACHING has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Caching {
    #[default]
    Unsaid,
    /// For the next command, or transaction.
    Next,
    /// For the one that is executed now.
    Now,
}

/// One client's tracking. Changed by CLIENT TRACKING and CLIENT CACHING.
#[derive(Debug, Default)]
pub(crate) struct Mode {
    pub(crate) broadcast: bool,
    pub(crate) opt: OptIn,
    /// Changes that it makes itself are not told.
    pub(crate) no_loop: bool,
    /// The client that is told instead.
    pub(crate) redirect: Option<u64>,
    /// What it wants to be told of, with `broadcast`: no one of them begins with another.
    pub(crate) prefixes: Vec<Vec<u8>>,
    caching: Caching,
}

impl Mode {
    /// CLIENT CACHING, in either mode.
    pub(crate) fn say_caching(&mut self) {
        self.caching = Caching::Next;
    }

    /// Whether CLIENT CACHING counts for what comes.
    pub(crate) fn is_caching_said(&self) -> bool {
        self.caching != Caching::Unsaid
    }

    /// A command begins that does not belong to a transaction and is not one of CLIENT's.
    pub(crate) fn begin_command(&mut self) {
        self.caching = match self.caching {
            Caching::Next => Caching::Now,
            Caching::Now | Caching::Unsaid => Caching::Unsaid,
        };
    }

    /// Whether keys that are read now are to be remembered.
    pub(crate) fn remembers(&self) -> bool {
        let said = self.is_caching_said();
        !self.broadcast
            && match self.opt {
                OptIn::Always => true,
                OptIn::In => said,
                OptIn::Out => !said,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caching_counts_for_one_command() {
        for (opt, usual) in [(OptIn::In, false), (OptIn::Out, true)] {
            let mut mode = Mode { opt, ..Mode::default() };
            mode.begin_command();
            assert_eq!(mode.remembers(), usual);
            mode.say_caching();
            mode.begin_command();
            assert_eq!(mode.remembers(), !usual);
            mode.begin_command();
            assert_eq!(mode.remembers(), usual);
        }
        let mode = Mode { broadcast: true, ..Mode::default() };
        assert!(!mode.remembers());
    }
}
