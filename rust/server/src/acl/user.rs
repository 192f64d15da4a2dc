//! A user: a name with rules that may be replaced while sessions hold it.

use super::{Context, Rules};
use crate::table::{Entry, Table};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What kind of refusal it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Auth,
    Command,
    Key,
    Channel,
}

impl Reason {
    /// The word in ACL LOG.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Auth => "auth",
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
        }
    }
}

/// What a user may not do, and at which word of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    Command,
    Key(usize),
    Channel(usize),
    /// SORT looks at keys that its words do not name.
    SortBy,
    SortGet,
}

impl Denied {
    /// What is logged; `None`: nothing is.
    pub(crate) fn reason(self) -> Option<Reason> {
        match self {
            Denied::Command => Some(Reason::Command),
            Denied::Key(_) => Some(Reason::Key),
            Denied::Channel(_) => Some(Reason::Channel),
            Denied::SortBy | Denied::SortGet => None,
        }
    }

    /// Which of two refusals is told: the one that came further.
    fn rank(self) -> (u8, usize) {
        match self {
            Denied::Command => (0, 0),
            Denied::Key(at) => (1, at),
            Denied::Channel(at) => (2, at),
            Denied::SortBy | Denied::SortGet => (3, 0),
        }
    }

    /// The whole error reply.
    pub(crate) fn reply(self, user: &[u8], command: &str, context: Context) -> Vec<u8> {
        match (self, context) {
            (Denied::SortBy, _) => {
                b"ERR BY option of SORT denied due to insufficient ACL permissions.".to_vec()
            }
            (Denied::SortGet, _) => {
                b"ERR GET option of SORT denied due to insufficient ACL permissions.".to_vec()
            }
            (_, Context::Lua) => {
                let mut text = b"ERR ACL failure in script: ".to_vec();
                text.extend(self.brief(user, command));
                text
            }
            _ => {
                let mut text = b"NOPERM ".to_vec();
                text.extend(self.brief(user, command));
                text
            }
        }
    }

    /// The error of EXEC for a command that was queued when it was still allowed.
    pub(crate) fn exec_reply(self) -> Vec<u8> {
        let why = match self {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
            Denied::SortBy | Denied::SortGet => return self.reply(b"", "", Context::Multi),
        };
        format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the \
             EXEC call. This command is no longer allowed for the following reason: {why}"
        )
        .into_bytes()
    }

    /// Without the name of the key, which the client knows.
    fn brief(self, user: &[u8], command: &str) -> Vec<u8> {
        match self {
            Denied::Key(_) => b"No permissions to access a key".to_vec(),
            Denied::Channel(_) => b"No permissions to access a channel".to_vec(),
            _ => self.text(user, command, b""),
        }
    }

    /// The whole story, for ACL DRYRUN.
    pub(crate) fn text(self, user: &[u8], command: &str, object: &[u8]) -> Vec<u8> {
        let mut text = b"User ".to_vec();
        text.extend_from_slice(user);
        let (before, what, behind) = match self {
            Denied::Key(_) => (" has no permissions to access the '", object, "' key"),
            Denied::Channel(_) => (" has no permissions to access the '", object, "' channel"),
            _ => (" has no permissions to run the '", command.as_bytes(), "' command"),
        };
        text.extend_from_slice(before.as_bytes());
        text.extend_from_slice(what);
        text.extend_from_slice(behind.as_bytes());
        text
    }
}

/// A user. The one by default has no name and no rights.
#[derive(Default)]
pub(crate) struct User {
    name: Vec<u8>,
    rules: RwLock<Arc<Rules>>,
    /// Every command, key and channel: nothing has to be looked at.
    may_all: AtomicBool,
    /// It is on and asks for no password.
    is_open: AtomicBool,
    is_deleted: AtomicBool,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "user {}", String::from_utf8_lossy(&self.name))
    }
}

impl User {
    pub(crate) fn new(name: &[u8], rules: Rules) -> User {
        let user = User {
            name: name.to_vec(),
            rules: RwLock::new(Arc::new(Rules::default())),
            may_all: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            is_deleted: AtomicBool::new(false),
        };
        user.replace(rules);
        user
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The rules at this moment.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.read().clone()
    }

    /// Whether every command is allowed on every key and channel.
    #[inline]
    pub(crate) fn may_all(&self) -> bool {
        self.may_all.load(Ordering::Acquire)
    }

    /// Whether no password has to be told.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Whether it is gone: a session that has just become this user must not stay it.
    pub(crate) fn is_deleted(&self) -> bool {
        self.is_deleted.load(Ordering::SeqCst)
    }

    /// Makes `rules` hold, at once and for everybody who is this user.
    pub(crate) fn replace(&self, rules: Rules) {
        let mut held = self.rules.write();
        let (all, open) = (rules.may_all(), rules.is_on() && rules.needs_no_password());
        *held = Arc::new(rules);
        self.may_all.store(all, Ordering::Release);
        self.is_open.store(open, Ordering::Release);
    }

    /// Takes every right away for good.
    pub(super) fn delete(&self, table: &Table) {
        self.is_deleted.store(true, Ordering::SeqCst);
        self.replace(Rules::none(table, crate::config::ChannelsByDefault::Resetchannels));
    }

    /// The one password (`requirepass`); an empty one: none is asked for.
    pub(crate) fn set_password(&self, password: &[u8]) {
        let mut rules = self.rules().as_ref().clone();
        rules.set_password(password);
        self.replace(rules);
    }

    /// Whether somebody who tells this password is let in.
    pub(crate) fn accepts(&self, password: &[u8]) -> bool {
        !self.is_deleted() && self.rules.read().accepts(password)
    }

    /// Whether this command may be called. `words` are all of it, name first.
    pub(crate) fn may(&self, entry: &Entry, words: &[&[u8]]) -> Result<(), Denied> {
        if self.may_all() {
            return Ok(());
        }
        let rules = self.rules.read();
        let mut refusal = Denied::Command;
        for selector in rules.selectors() {
            match selector.check(entry, words) {
                Ok(()) => return rules.check_sort(entry, words),
                Err(denied) if denied.rank() > refusal.rank() => refusal = denied,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// Whether messages of a channel may be had or sent. A pattern has to be one of the user's own.
    pub(crate) fn may_use_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.may_all()
            || self.rules.read().selectors().iter().any(|s| s.has_channel(channel, is_pattern))
    }

    /// `user NAME RULES`.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = b"user ".to_vec();
        line.extend_from_slice(&self.name);
        line.push(b' ');
        line.extend(self.rules.read().describe());
        line
    }
}
