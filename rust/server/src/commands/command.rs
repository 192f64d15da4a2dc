//! What a family's table is made of: one entry per command.

use super::Args;
use crate::road::{Admin, Scope};
use crate::waiting::Wait;
use forgekv_data::{Read, Result, Write};
use forgekv_resp::Reply;

/// A group of commands on one noun.
#[derive(Debug)]
pub(crate) struct Family {
    /// The group in COMMAND DOCS: "string", "generic", "connection" …
    pub(crate) name: &'static str,
    /// The commands, in the order in which a reader wants to meet them.
    pub(crate) commands: &'static [Command],
}

impl Family {
    /// A family.
    pub(crate) const fn new(name: &'static str, commands: &'static [Command]) -> Family {
        Family { name, commands }
    }
}

/// A function on a read-only view.
pub(crate) type ReadHandler = fn(&mut Read<'_>, &mut Args<'_>, &mut Reply<'_>) -> Result<()>;
/// A function that stages writes.
pub(crate) type WriteHandler = fn(&mut Write<'_>, &mut Args<'_>, &mut Reply<'_>) -> Result<()>;
/// A function that stages writes, or says what it is ready to wait for.
pub(crate) type WaitHandler =
    fn(&mut Write<'_>, &mut Args<'_>, &mut Reply<'_>) -> Result<Option<Wait>>;
/// A function that runs other commands in its own view.
pub(crate) type CompoundHandler =
    fn(&mut Scope<'_, '_>, &mut Args<'_>, &mut Reply<'_>) -> Result<()>;
/// A function on the session and the server.
pub(crate) type AdminHandler = fn(&mut Admin<'_, '_>, &mut Args<'_>, &mut Reply<'_>) -> Result<()>;

/// What runs, and what it may touch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handler {
    /// Sees the data.
    Read(ReadHandler),
    /// Sees and changes the data.
    Write(WriteHandler),
    /// As `Write`; finds it nothing, the client waits.
    Wait(WaitHandler),
    /// Runs other commands.
    Compound(CompoundHandler),
    /// Sees session and server, not the data.
    Admin(AdminHandler),
    /// Nothing runs: the work is done by subcommands.
    Container,
}

/// Facts that cannot be derived, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u32);

impl Flags {
    pub(crate) const FAST: Flags = Flags(1);
    pub(crate) const GROWS: Flags = Flags(1 << 1);
    pub(crate) const LOADING: Flags = Flags(1 << 2);
    pub(crate) const STALE: Flags = Flags(1 << 3);
    pub(crate) const NOSCRIPT: Flags = Flags(1 << 4);
    pub(crate) const NO_MULTI: Flags = Flags(1 << 5);
    pub(crate) const ALL_SHARDS: Flags = Flags(1 << 6);
    pub(crate) const LONG: Flags = Flags(1 << 7);
    pub(crate) const HIDDEN: Flags = Flags(1 << 8);
    pub(crate) const OPERATOR: Flags = Flags(1 << 9);
    pub(crate) const DANGEROUS: Flags = Flags(1 << 10);
    pub(crate) const NO_AUTH: Flags = Flags(1 << 11);
    pub(crate) const ALLOW_BUSY: Flags = Flags(1 << 12);
    pub(crate) const LOOKS: Flags = Flags(1 << 13);
    pub(crate) const DEBUG: Flags = Flags(1 << 16);
    pub(crate) const ASYNC_LOADING: Flags = Flags(1 << 17);
    pub(crate) const KEYSPACE: Flags = Flags(1 << 19);
    pub(crate) const SWEEP: Flags = Flags(1 << 20);
    pub(crate) const SEES_DATA: Flags = Flags(1 << 21);
    pub(crate) const BLOCKING: Flags = Flags(1 << 22);
    pub(crate) const PUBSUB: Flags = Flags(1 << 23);
    pub(crate) const SUBSCRIBER: Flags = Flags(1 << 24);
    pub(crate) const UNQUEUED: Flags = Flags(1 << 25);
    pub(crate) const QUEUE: Flags = Flags(1 << 26);
    pub(crate) const ONLY_READS: Flags = Flags(1 << 27);
    pub(crate) const SKIP_SLOWLOG: Flags = Flags(1 << 28);
    pub(crate) const SCRIPT: Flags = Flags(1 << 29);
    pub(crate) const WRITES: Flags = Flags(1 << 30);
    pub(crate) const MAY_REPLICATE: Flags = Flags(1 << 31);

    /// Whether all bits of `other` are set.
    #[inline]
    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// One entry of a family's table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    /// Upper case.
    pub(crate) name: &'static str,
    /// What runs.
    pub(crate) handler: Handler,
    /// The arguments as in Redis's documentation: `key value [NX | XX] [EX seconds]`.
    pub(crate) syntax: &'static str,
    /// The Redis version that had it first.
    pub(crate) since: &'static str,
    /// One sentence of our own.
    pub(crate) about: &'static str,
    /// Time complexity, as COMMAND DOCS prints it.
    pub(crate) complexity: &'static str,
    /// See [`Flags`].
    pub(crate) flags: Flags,
    /// Given by hand where the syntax line does not tell.
    pub(crate) arity: Option<i32>,
    /// What is done to each group of keys, `;` between them: `RW access delete; OW update`.
    pub(crate) keys: &'static str,
    /// Entries of a container.
    pub(crate) subcommands: &'static [Command],
    /// Since when it is deprecated, and what to use instead.
    pub(crate) deprecated: Option<(&'static str, &'static str)>,
    /// Tips for proxies and clients, as COMMAND INFO prints them.
    pub(crate) tips: &'static [&'static str],
    /// ACL categories beyond the derived ones, without the at sign.
    pub(crate) categories: &'static [&'static str],
    /// The family to which it belongs for ACL, where that is not the family that lists it.
    pub(crate) group: Option<&'static str>,
}

const fn command(name: &'static str, handler: Handler, syntax: &'static str) -> Command {
    Command {
        name,
        handler,
        syntax,
        since: "",
        about: "",
        complexity: "",
        flags: Flags(0),
        arity: None,
        keys: "",
        subcommands: &[],
        deprecated: None,
        tips: &[],
        categories: &[],
        group: None,
    }
}

/// A command that only reads.
pub(crate) const fn read(
    name: &'static str,
    handler: ReadHandler,
    syntax: &'static str,
) -> Command {
    command(name, Handler::Read(handler), syntax)
}

/// A command that may write.
pub(crate) const fn write(
    name: &'static str,
    handler: WriteHandler,
    syntax: &'static str,
) -> Command {
    command(name, Handler::Write(handler), syntax)
}

/// A command that may write, and waits where there is nothing to take.
pub(crate) const fn wait(
    name: &'static str,
    handler: WaitHandler,
    syntax: &'static str,
) -> Command {
    command(name, Handler::Wait(handler), syntax).flag(Flags::BLOCKING)
}

/// A command that runs other commands.
pub(crate) const fn compound(
    name: &'static str,
    handler: CompoundHandler,
    syntax: &'static str,
) -> Command {
    command(name, Handler::Compound(handler), syntax)
}

/// A command on the session or the server.
pub(crate) const fn admin(
    name: &'static str,
    handler: AdminHandler,
    syntax: &'static str,
) -> Command {
    command(name, Handler::Admin(handler), syntax)
}

/// The HELP that every container has; its text is made of the table.
pub(crate) const HELP: Command = admin("HELP", super::help::help, "")
    .loading()
    .stale()
    .since("5.0.0")
    .about("Lists the subcommands.")
    .complexity("O(1)");

/// A command that does nothing but hold subcommands.
pub(crate) const fn container(name: &'static str, subcommands: &'static [Command]) -> Command {
    let mut entry = command(name, Handler::Container, "");
    entry.subcommands = subcommands;
    entry
}

impl Command {
    /// Takes constant or logarithmic time: category @fast.
    pub(crate) const fn fast(self) -> Command {
        self.flag(Flags::FAST)
    }

    /// May make the data larger: refused when memory is short (DENYOOM).
    pub(crate) const fn grows(self) -> Command {
        self.flag(Flags::GROWS)
    }

    /// The Redis version that had it first.
    pub(crate) const fn since(mut self, version: &'static str) -> Command {
        self.since = version;
        self
    }

    /// One sentence.
    pub(crate) const fn about(mut self, sentence: &'static str) -> Command {
        self.about = sentence;
        self
    }

    /// Time complexity: "O(1)".
    pub(crate) const fn complexity(mut self, text: &'static str) -> Command {
        self.complexity = text;
        self
    }

    /// Runs while data is loading.
    pub(crate) const fn loading(self) -> Command {
        self.flag(Flags::LOADING)
    }

    /// Runs on a replica that has lost its master.
    pub(crate) const fn stale(self) -> Command {
        self.flag(Flags::STALE)
    }

    /// Refused in scripts.
    pub(crate) const fn noscript(self) -> Command {
        self.flag(Flags::NOSCRIPT)
    }

    /// Refused between MULTI and EXEC.
    pub(crate) const fn no_multi(self) -> Command {
        self.flag(Flags::NO_MULTI)
    }

    /// Runs before the client has authenticated.
    pub(crate) const fn no_auth(self) -> Command {
        self.flag(Flags::NO_AUTH)
    }

    /// Runs while a script hogs the server.
    pub(crate) const fn allow_busy(self) -> Command {
        self.flag(Flags::ALLOW_BUSY)
    }

    /// COMMAND shows the flag `no_async_loading`.
    pub(crate) const fn no_async_loading(self) -> Command {
        self.flag(Flags::ASYNC_LOADING)
    }

    /// Needs `enable-debug-command`.
    pub(crate) const fn debug(self) -> Command {
        self.flag(Flags::DEBUG)
    }

    /// For operators: flag `admin`, categories @admin and @dangerous.
    pub(crate) const fn operator(self) -> Command {
        self.flag(Flags::OPERATOR)
    }

    /// Deals with subscriptions: flag `pubsub` and category @pubsub, any time.
    pub(crate) const fn pubsub(self) -> Command {
        self.flag(Flags::PUBSUB).loading().stale()
    }

    /// May be called by a client that listens to messages in RESP2.
    pub(crate) const fn subscriber(self) -> Command {
        self.flag(Flags::SUBSCRIBER)
    }

    /// Category @dangerous.
    pub(crate) const fn dangerous(self) -> Command {
        self.flag(Flags::DANGEROUS)
    }

    /// Category @keyspace, outside the generic family.
    pub(crate) const fn keyspace(self) -> Command {
        self.flag(Flags::KEYSPACE)
    }

    /// Runs with all shards locked.
    pub(crate) const fn all_shards(self) -> Command {
        self.flag(Flags::ALL_SHARDS)
    }

    /// Walks the keys: the first argument is a cursor, and its shard is locked.
    pub(crate) const fn sweep(self) -> Command {
        self.flag(Flags::SWEEP)
    }

    /// An admin command that wants a view of the data in the declared shards.
    pub(crate) const fn sees_data(self) -> Command {
        self.flag(Flags::SEES_DATA)
    }

    /// Looks at its keys without using them: see OBJECT IDLETIME.
    pub(crate) const fn looks(self) -> Command {
        self.flag(Flags::LOOKS)
    }

    /// Takes long: runs on a pool thread, never on an event loop.
    pub(crate) const fn long(self) -> Command {
        self.flag(Flags::LONG)
    }

    /// Does not count for SLOWLOG: what it runs does.
    pub(crate) const fn skip_slowlog(self) -> Command {
        self.flag(Flags::SKIP_SLOWLOG)
    }

    /// Runs a script: flags `no_mandatory_keys` and `skip_monitor`.
    pub(crate) const fn script(self) -> Command {
        self.flag(Flags::SCRIPT)
    }

    /// Writes, though it is no handler of that kind.
    pub(crate) const fn writes(self) -> Command {
        self.flag(Flags::WRITES)
    }

    /// Waits, and changes nothing.
    pub(crate) const fn only_reads(self) -> Command {
        self.flag(Flags::ONLY_READS)
    }

    /// Runs at once between MULTI and EXEC.
    pub(crate) const fn unqueued(self) -> Command {
        self.flag(Flags::UNQUEUED)
    }

    /// Runs what was queued: its shards are those of the queue and of what is watched.
    pub(crate) const fn runs_queue(self) -> Command {
        self.flag(Flags::QUEUE)
    }

    /// Waits while writes are paused, though it is none.
    pub(crate) const fn may_replicate(self) -> Command {
        self.flag(Flags::MAY_REPLICATE)
    }

    /// Not listed by COMMAND.
    pub(crate) const fn hidden(self) -> Command {
        self.flag(Flags::HIDDEN)
    }

    /// The arity where the syntax line does not tell: the exact number of words with the name, or minus
    /// the least.
    pub(crate) const fn arity(mut self, n: i32) -> Command {
        self.arity = Some(n);
        self
    }

    /// What is done to each group of keys in the words of COMMAND INFO, `;` between groups:
    /// `RW access delete; OW update`. Without it: `RO access` for reads, `RW access update` for writes.
    pub(crate) const fn keys(mut self, what: &'static str) -> Command {
        self.keys = what;
        self
    }

    /// Since when it is deprecated, and what to use instead.
    pub(crate) const fn deprecated(
        mut self,
        version: &'static str,
        instead: &'static str,
    ) -> Command {
        self.deprecated = Some((version, instead));
        self
    }

    /// Tips, as COMMAND INFO prints them: `nondeterministic_output` …
    pub(crate) const fn tips(mut self, tips: &'static [&'static str]) -> Command {
        self.tips = tips;
        self
    }

    /// ACL categories that cannot be derived, without the at sign.
    pub(crate) const fn categories(mut self, names: &'static [&'static str]) -> Command {
        self.categories = names;
        self
    }

    /// The group in COMMAND DOCS and ACL where it is not the family that lists it.
    pub(crate) const fn group(mut self, name: &'static str) -> Command {
        self.group = Some(name);
        self
    }

    /// Entries that the next word chooses from; the entry's own handler runs when there is no next word.
    pub(crate) const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    const fn flag(mut self, flag: Flags) -> Command {
        self.flags = self.flags.with(flag);
        self
    }
}
