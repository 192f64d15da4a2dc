//! Users: who they are, what they may do, and the log of what was refused.
//!
//! | noun | is |
//! |---|---|
//! | [`User`] | a name with its rules; a session holds one, so a change acts on it at once |
//! | [`Rules`] | state, passwords and selectors of a user; replaced whole |
//! | [`Selector`] | one set of commands, keys and channels that go together |
//! | [`Log`] | refusals, the newest first |
//!
//! A user who may do everything costs a command one load of a flag. For others the rules are read under a
//! lock that only a change of the rules takes for writing.

pub(crate) mod file;
mod log;
mod rules;
mod selector;
mod user;

pub(crate) use rules::{Rules, whole_rules};
pub(crate) use selector::Selector;
pub(crate) use user::{Denied, Reason, User};

use crate::config::{ChannelsByDefault, Config};
use crate::pubsub::Kind;
use crate::server::Shared;
use crate::session::{Client, Session};
use crate::table::{Entry, Table};
use log::Log;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The user that everybody is who has not said otherwise.
pub(crate) const DEFAULT: &[u8] = b"default";

/// Where a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// When it came in.
    TopLevel,
    /// While it was queued in MULTI, or by EXEC.
    Multi,
    /// When a script called it.
    Lua,
}

/// Refusals so far, for INFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Denials {
    /// Wrong names and passwords.
    pub auth: u64,
    /// Commands.
    pub commands: u64,
    /// Keys.
    pub keys: u64,
    /// Channels.
    pub channels: u64,
}

/// All users.
#[derive(Debug)]
pub(crate) struct Acl {
    users: Mutex<BTreeMap<Vec<u8>, Arc<User>>>,
    default: Arc<User>,
    log: Mutex<Log>,
    denials: [AtomicU64; 4],
    /// Held while the file is written.
    pub(crate) saving: Mutex<()>,
}

impl Acl {
    /// The users that `config` names, by its own lines or by its `aclfile`.
    ///
    /// # Errors
    /// What is wrong with the users, as a text for the administrator.
    pub(crate) fn new(config: &Config, table: &Table) -> Result<Acl, String> {
        let default = Arc::new(User::new(DEFAULT, Rules::all(table)));
        let mut users = BTreeMap::from([(DEFAULT.to_vec(), default.clone())]);
        default.set_password(&config.requirepass);
        if !config.users.is_empty() && !config.aclfile.is_empty() {
            return Err("users are defined in the configuration file and an aclfile is named as \
                 well: move them all to one of the two"
                .into());
        }
        let channels = config.acl_pubsub_default;
        for line in &config.users {
            let Some((name, words)) = line.split_first() else { continue };
            let rules = rules_of_line(words, table, channels)
                .map_err(|why| format!("user '{}': {why}", String::from_utf8_lossy(name)))?;
            if !rules.is_on() {
                tracing::warn!(
                    "the user '{}' is disabled: there is no 'on' among its rules",
                    String::from_utf8_lossy(name)
                );
            }
            if name == DEFAULT {
                default.replace(rules);
            } else {
                users.insert(name.clone(), Arc::new(User::new(name, rules)));
            }
        }
        let acl = Acl {
            users: Mutex::new(users),
            default,
            log: Mutex::default(),
            denials: Default::default(),
            saving: Mutex::default(),
        };
        if !config.aclfile.is_empty() {
            for (user, rules) in file::load(&config.path(&config.aclfile), table, channels)? {
                acl.put(&user, rules);
            }
        }
        Ok(acl)
    }

    /// The user of new connections.
    pub(crate) fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Whether who comes need not say a password.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.default.is_open()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.lock().get(name).cloned()
    }

    /// All users by name.
    pub(crate) fn all(&self) -> Vec<Arc<User>> {
        self.users.lock().values().cloned().collect()
    }

    /// Gives `name` these rules, whether it was there or not.
    fn put(&self, name: &[u8], rules: Rules) {
        let mut users = self.users.lock();
        match users.get(name) {
            Some(user) => user.replace(rules),
            None => {
                users.insert(name.to_vec(), Arc::new(User::new(name, rules)));
            }
        }
    }

    /// ACL SETUSER: all of `modifiers` or none. The error is a text without its code word.
    pub(crate) fn set(
        &self,
        name: &[u8],
        modifiers: &[&[u8]],
        table: &Table,
        channels: ChannelsByDefault,
    ) -> Result<Arc<User>, String> {
        let modifiers = whole_rules(modifiers)?;
        // One change at a time: the lock is held from the reading of the old rules on.
        let mut users = self.users.lock();
        let known = users.get(name).cloned();
        let mut rules = known
            .as_ref()
            .map_or_else(|| Rules::none(table, channels), |u| u.rules().as_ref().clone());
        for modifier in &modifiers {
            rules.apply(modifier, table, channels).map_err(|mistake| {
                format!(
                    "Error in ACL SETUSER modifier '{}': {}",
                    String::from_utf8_lossy(modifier),
                    mistake.text()
                )
            })?;
        }
        let user = match known {
            Some(user) => {
                user.replace(rules);
                user
            }
            None => {
                let user = Arc::new(User::new(name, rules));
                users.insert(name.to_vec(), user.clone());
                user
            }
        };
        Ok(user)
    }

    /// ACL DELUSER: the user that was there, who may do nothing any more.
    pub(crate) fn remove(&self, name: &[u8], table: &Table) -> Option<Arc<User>> {
        let user = self.users.lock().remove(name)?;
        user.delete(table);
        Some(user)
    }

    /// ACL LOAD: the users are those of the file, all of them or, when a line is wrong, none. Gives those
    /// back who are gone.
    pub(crate) fn load(&self, config: &Config, table: &Table) -> Result<Vec<Arc<User>>, String> {
        let path = config.path(&config.aclfile);
        let mut loaded = file::load(&path, table, config.acl_pubsub_default)?;
        loaded.entry(DEFAULT.to_vec()).or_insert_with(|| Rules::all(table));
        let mut gone = Vec::new();
        let mut users = self.users.lock();
        users.retain(|name, user| {
            let stays = loaded.contains_key(name);
            if !stays {
                user.delete(table);
                gone.push(user.clone());
            }
            stays
        });
        for (name, rules) in loaded {
            match users.get(&name) {
                Some(user) => user.replace(rules),
                None => {
                    users.insert(name.clone(), Arc::new(User::new(&name, rules)));
                }
            }
        }
        Ok(gone)
    }

    /// The lines that CONFIG REWRITE needs; `None` if the users have a file of their own. The default user
    /// needs none if it is what the rest of the configuration makes it.
    pub(crate) fn lines_for(&self, config: &Config, table: &Table) -> Option<Vec<Vec<u8>>> {
        if !config.aclfile.is_empty() {
            return None;
        }
        let plain = User::new(DEFAULT, Rules::all(table));
        plain.set_password(&config.requirepass);
        let plain = plain.line();
        Some(self.lines().into_iter().filter(|line| *line != plain).collect())
    }

    /// One line for each user, as files and ACL LIST have it.
    pub(crate) fn lines(&self) -> Vec<Vec<u8>> {
        self.all().iter().map(|user| user.line()).collect()
    }

    /// The user whom this password proves, or `None`: name or password are wrong or the user is off.
    pub(crate) fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        self.get(name).filter(|user| user.accepts(password))
    }

    pub(crate) fn denials(&self) -> Denials {
        let [auth, commands, keys, channels] = &self.denials;
        Denials {
            auth: auth.load(Relaxed),
            commands: commands.load(Relaxed),
            keys: keys.load(Relaxed),
            channels: channels.load(Relaxed),
        }
    }

    pub(crate) fn log(&self) -> parking_lot::MutexGuard<'_, Log> {
        self.log.lock()
    }
}

/// A refusal on its way to counters and log.
pub(crate) struct Refusal<'a> {
    pub(crate) reason: Reason,
    pub(crate) context: Context,
    /// What was refused: the command, the key, the channel; AUTH, if it was the password.
    pub(crate) object: &'a [u8],
    pub(crate) user: &'a [u8],
    /// The name of the command that the client sent.
    pub(crate) command: &'a str,
    pub(crate) now_ms: u64,
}

impl Shared {
    /// Counts and logs a refusal.
    pub(crate) fn note_refusal(&self, client: &Client, refusal: &Refusal<'_>) {
        let counter = match refusal.reason {
            Reason::Auth => 0,
            Reason::Command => 1,
            Reason::Key => 2,
            Reason::Channel => 3,
        };
        if let Some(counter) = self.acl.denials.get(counter) {
            counter.fetch_add(1, Relaxed);
        }
        let line = client.line(refusal.now_ms, refusal.command);
        let most = self.config.current().acllog_max_len as usize;
        self.acl.log.lock().add(refusal, line, most);
    }

    /// Whether the session's user may call this. A refusal is counted and logged; [`Denied::reply`] words it.
    #[inline]
    pub(crate) fn may(
        &self,
        session: &Session,
        entry: &Entry,
        words: &[&[u8]],
        context: Context,
        now_ms: u64,
    ) -> Result<(), Denied> {
        if session.user.may_all() {
            return Ok(());
        }
        self.may_restricted((&session.client, &session.user), entry, words, context, now_ms)
    }

    /// Whether a client that waits may still do what it waits for.
    ///
    /// # Errors
    /// The whole error reply.
    pub(crate) fn may_still(
        &self,
        client: &Client,
        entry: &Entry,
        words: &[&[u8]],
        now_ms: u64,
    ) -> Result<(), Vec<u8>> {
        let user = client.user.lock().clone();
        if user.may_all() {
            return Ok(());
        }
        let context = Context::TopLevel;
        let asked = self.may_restricted((client, &user), entry, words, context, now_ms);
        asked.map_err(|denied| denied.reply(user.name(), &entry.name, context))
    }

    #[cold]
    fn may_restricted(
        &self,
        (client, user): (&Client, &User),
        entry: &Entry,
        words: &[&[u8]],
        context: Context,
        now_ms: u64,
    ) -> Result<(), Denied> {
        let Err(denied) = user.may(entry, words) else { return Ok(()) };
        if let Some(reason) = denied.reason() {
            let object = match denied {
                Denied::Command => self.table.known_name(entry).as_bytes(),
                Denied::Key(at) | Denied::Channel(at) => words.get(at).copied().unwrap_or_default(),
                Denied::SortBy | Denied::SortGet => b"",
            };
            let user = user.name();
            let command = &entry.name;
            let refusal = Refusal { reason, context, object, user, command, now_ms };
            self.note_refusal(client, &refusal);
        }
        Err(denied)
    }

    /// Closes connections of `user` with a subscription that the user may not have any more. True when `me`
    /// is one of them.
    pub(crate) fn close_subscribers(&self, user: &Arc<User>, me: u64) -> bool {
        if user.may_all() || self.pubsub.is_empty() {
            return false;
        }
        let mut refused: Vec<u64> = Vec::new();
        self.pubsub.each(|kind, name, client| {
            if !refused.contains(&client) && !user.may_use_channel(name, kind == Kind::Pattern) {
                refused.push(client);
            }
        });
        let clients = refused.into_iter().filter_map(|id| self.clients.get(id));
        let theirs = clients.filter(|client| Arc::ptr_eq(user, &client.user.lock()));
        self.close_all(theirs, me)
    }

    /// Closes the connections of users who are gone, but for `me`. True when `me` is one of them.
    pub(crate) fn close_users(&self, gone: &[Arc<User>], me: u64) -> bool {
        if gone.is_empty() {
            return false;
        }
        let clients = self.clients.all().into_iter();
        let theirs = clients.filter(|c| gone.iter().any(|user| Arc::ptr_eq(user, &c.user.lock())));
        self.close_all(theirs, me)
    }

    /// Closes these but for `me`. True when `me` is one of them.
    fn close_all(&self, clients: impl Iterator<Item = Arc<Client>>, me: u64) -> bool {
        let mut is_mine = false;
        for client in clients {
            client.is_closing.store(true, Relaxed);
            if client.id == me {
                is_mine = true;
            } else {
                self.clients.remove(client.id);
                self.close_client(client.worker, client.id);
            }
        }
        is_mine
    }
}

/// Whether a `user` line of the configuration can be taken; the error says which rule is wrong.
pub(crate) fn check_line(words: &[&[u8]]) -> Result<(), String> {
    let table = Table::build(&[])?;
    let Some((name, rules)) = words.split_first() else {
        return Err("wrong number of arguments".into());
    };
    if has_spaces(name) {
        return Err("Spaces not allowed in ACL usernames".into());
    }
    let rules: Vec<Vec<u8>> = rules.iter().map(|word| word.to_vec()).collect();
    rules_of_line(&rules, &table, ChannelsByDefault::Resetchannels).map(drop)
}

/// The rules of a user line, behind the name.
fn rules_of_line(
    words: &[Vec<u8>],
    table: &Table,
    channels: ChannelsByDefault,
) -> Result<Rules, String> {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let mut rules = Rules::none(table, channels);
    for word in whole_rules(&words)? {
        rules.apply(&word, table, channels).map_err(|mistake| {
            format!("Error in user declaration '{}': {}", shown(&word), mistake.text())
        })?;
    }
    Ok(rules)
}

/// A modifier as it may stand in a log: without a password.
fn shown(modifier: &[u8]) -> std::borrow::Cow<'_, str> {
    match modifier {
        [b'<' | b'>' | b'#' | b'!', ..] => "(redacted)".into(),
        _ => String::from_utf8_lossy(modifier),
    }
}

/// Names and patterns stand in lines, so they hold neither spaces nor NUL bytes.
pub(crate) fn has_spaces(word: &[u8]) -> bool {
    word.iter().any(|byte| matches!(byte, 0 | b' ' | b'\t'..=b'\r'))
}

#[cfg(test)]
mod tests;
