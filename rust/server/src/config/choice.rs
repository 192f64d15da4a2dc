//! Directives whose value is one of a few words.

use super::value::{Kind, Value, choose};

/// An enum whose variants have names in the configuration.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// The names, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($text),+];
            const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The name in the configuration.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl Value for $name {
            fn set(&mut self, args: &[&[u8]], _: &Kind) -> Result<(), String> {
                *self = Self::ALL[choose(args, Self::NAMES)?];
                Ok(())
            }

            fn get(&self, _: &Kind) -> Vec<u8> {
                self.name().into()
            }
        }
    };
}

choice! {
    /// `wal_sync_mode`: when a write is on stable storage.
    WalSyncMode {
        /// Before it is acknowledged.
        Always = "Always",
        /// At most about a second later.
        EverySecond = "EverySecond",
        /// When the operating system pleases.
        Never = "Never",
    }
}

choice! {
    /// `loglevel`: the least important thing that is logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// A little less.
        Verbose = "verbose",
        /// What an administrator wants to read.
        Notice = "notice",
        /// Only what needs attention.
        Warning = "warning",
        /// Nothing at all.
        Nothing = "nothing",
    }
}

choice! {
    /// `supervised`: who waits to hear that the server is ready.
    Supervised {
        /// Nobody.
        No = "no",
        /// systemd, by `NOTIFY_SOCKET`.
        Systemd = "systemd",
        /// Upstart.
        Upstart = "upstart",
        /// Whoever the environment names.
        Auto = "auto",
    }
}

choice! {
    /// `enable-debug-command`, `enable-protected-configs`: who may use it.
    Protection {
        /// Nobody.
        No = "no",
        /// Anybody.
        Yes = "yes",
        /// Connections from this machine.
        Local = "local",
    }
}

choice! {
    /// `acl-pubsub-default`: the channels of a user that nothing was said of.
    ChannelsByDefault {
        /// All.
        Allchannels = "allchannels",
        /// None.
        Resetchannels = "resetchannels",
    }
}

choice! {
    /// `tls-auth-clients`: whether clients have to show a certificate.
    ClientCertificates {
        /// They are not asked.
        No = "no",
        /// They are not let in without.
        Yes = "yes",
        /// One that is shown has to be good.
        Optional = "optional",
    }
}

choice! {
    /// `oom-score-adj`: whether and how the system's score of this process is changed.
    OomScoreAdj {
        /// It stays.
        No = "no",
        /// As `relative`.
        Yes = "yes",
        /// The value is added.
        Relative = "relative",
        /// The value takes its place.
        Absolute = "absolute",
    }
}

choice! {
    /// `maxmemory-policy`.
    Policy {
        /// Least recently used keys that expire.
        VolatileLru = "volatile-lru",
        /// Least frequently used keys that expire.
        VolatileLfu = "volatile-lfu",
        /// Any keys that expire.
        VolatileRandom = "volatile-random",
        /// Keys that expire soonest.
        VolatileTtl = "volatile-ttl",
        /// Least recently used keys.
        AllkeysLru = "allkeys-lru",
        /// Least frequently used keys.
        AllkeysLfu = "allkeys-lfu",
        /// Any keys.
        AllkeysRandom = "allkeys-random",
        /// Nothing is evicted.
        NoEviction = "noeviction",
    }
}

impl Protection {
    /// Whether a client may, which is on this machine or not.
    pub fn allows(self, is_local: bool) -> bool {
        match self {
            Protection::Yes => true,
            Protection::Local => is_local,
            Protection::No => false,
        }
    }
}

impl Policy {
    /// Whether the policy counts how often a key is used.
    pub fn is_lfu(self) -> bool {
        matches!(self, Policy::VolatileLfu | Policy::AllkeysLfu)
    }
}
