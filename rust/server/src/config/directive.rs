//! What a row of the [`table`](super::table) is.
//!
//! There are three sorts of row. *Live* rows are fields of [`Config`] and do something here. *Inert*
//! rows are Redis's directives that mean nothing to this server: they are checked, remembered and
//! named in a warning. *Refused* rows ask for something that must not be ignored, such as TLS or
//! replication: any value but the harmless one stops the start.

use std::collections::BTreeMap;

use super::table::Config;
use super::value::Kind;

/// What of the running server has to be told when a directive changes. Directives that are simply
/// read when they matter name none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The sockets that accept connections: `bind`, `port`, `tls-port`.
    Listeners,
    /// When the log is synced.
    Durability,
    /// The memory budget and its division.
    Memory,
    /// How many clients there may be.
    Clients,
    /// What they may take together.
    ClientMemory,
    /// What is logged.
    Logging,
    /// The password of the default user.
    Users,
    /// Certificates and keys.
    Tls,
    /// How soon the system ends the process.
    OomScore,
    /// How many keys are remembered for clients that are told of changes.
    Tracking,
}

/// Values of inert rows that are not Redis's defaults, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inert(BTreeMap<&'static str, Vec<u8>>);

/// When a directive may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// At start only.
    Fixed,
    /// At start only; and who may not change what is protected is told that instead.
    FixedProtected,
    /// By CONFIG SET.
    Free,
    /// By CONFIG SET, if `enable-protected-configs` allows it.
    Protected,
    /// By CONFIG SET, and a part of the server is told.
    Tell(Part),
}

/// What a directive is to this server.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// A field of [`Config`].
    Live {
        /// The value as text.
        get: fn(&Config) -> Vec<u8>,
        /// Takes a value.
        set: fn(&mut Config, &[&[u8]]) -> Result<(), String>,
    },
    /// Another way to say what a live directive says; never written by CONFIG REWRITE unless the
    /// file has it.
    Derived {
        /// The value as text.
        get: fn(&Config) -> Vec<u8>,
        /// Takes a value.
        set: fn(&mut Config, &[&[u8]]) -> Result<(), String>,
    },
    /// Remembered, without effect.
    Inert {
        /// Redis's default.
        default: &'static str,
        /// Why it has no effect.
        why: &'static str,
    },
    /// As `Inert`, and CONFIG GET shows it only to who asks for it by name.
    Hidden {
        /// Redis's default.
        default: &'static str,
    },
    /// Only the harmless value is taken.
    Refused {
        /// The value that asks for nothing; `None` when every use of the directive asks.
        harmless: Option<&'static str>,
        /// What is missing and what to do.
        why: &'static str,
    },
    /// Adds a pair to [`Config::rename_commands`]; only at start, and not shown.
    RenameCommand,
    /// Adds a user to [`Config::users`]; only at start, and not shown.
    User,
    /// Reads another file at this place; only at start, and not shown.
    Include,
}

/// A row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Directive {
    /// The name as CONFIG GET shows it.
    pub name: &'static str,
    /// Older names that Redis still takes.
    pub aliases: &'static [&'static str],
    /// What its value may be.
    pub kind: Kind,
    /// When it may change.
    pub change: Change,
    /// What it is to this server.
    pub role: Role,
}

impl Directive {
    /// Whether it is shown by CONFIG GET and taken by CONFIG SET.
    pub fn is_visible(&self) -> bool {
        match self.role {
            Role::RenameCommand | Role::User | Role::Include => false,
            Role::Refused { harmless, .. } => harmless.is_some(),
            _ => true,
        }
    }

    /// Whether CONFIG GET shows it to who asks with a pattern.
    pub fn is_listed(&self) -> bool {
        self.is_visible() && !matches!(self.role, Role::Hidden { .. })
    }

    /// Whether its value must not be shown in logs and errors.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret || matches!(self.role, Role::User)
    }

    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The value in `config` as text; empty for what is not shown.
    pub fn get(&self, config: &Config) -> Vec<u8> {
        match self.role {
            Role::Live { get, .. } | Role::Derived { get, .. } => get(config),
            Role::Inert { default, .. } | Role::Hidden { default } => {
                config.inert.0.get(self.name).cloned().unwrap_or_else(|| default.into())
            }
            Role::Refused { harmless, .. } => harmless.unwrap_or_default().into(),
            Role::RenameCommand | Role::User | Role::Include => Vec::new(),
        }
    }

    /// Takes the value `args` into `config`, or says what is wrong.
    pub fn set(&self, config: &mut Config, args: &[&[u8]]) -> Result<(), String> {
        match self.role {
            Role::Live { set, .. } | Role::Derived { set, .. } => set(config, args),
            Role::Inert { default, .. } | Role::Hidden { default } => {
                let value = self.kind.canonical(args)?;
                if value == default.as_bytes() {
                    config.inert.0.remove(self.name);
                } else {
                    config.inert.0.insert(self.name, value);
                }
                Ok(())
            }
            Role::Refused { harmless, why } => {
                let value = self.kind.canonical(args)?;
                let is_harmless =
                    harmless.is_some_and(|text| value.eq_ignore_ascii_case(text.as_bytes()));
                if is_harmless { Ok(()) } else { Err(why.into()) }
            }
            Role::RenameCommand => match args {
                [from, to] => {
                    config.rename_commands.push((from.to_ascii_lowercase(), to.to_vec()));
                    Ok(())
                }
                _ => Err("wrong number of arguments".into()),
            },
            Role::User => {
                crate::acl::check_line(args)?;
                let words: Vec<Vec<u8>> = args.iter().map(|word| word.to_vec()).collect();
                if config.users.iter().any(|known| known.first() == words.first()) {
                    return Err("Duplicate user found. A user can only be defined once in config \
                                files"
                        .into());
                }
                config.users.push(words);
                Ok(())
            }
            Role::Include => Err("can't be included here".into()),
        }
    }
}
