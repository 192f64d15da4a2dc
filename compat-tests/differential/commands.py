"""The commands that are drawn: our command table, as far as Redis 7.0 knows it.

COMMAND DOCS of both servers gives trees of typed arguments. Where ours has an option that the other has
not, the option is left out here; the transcripts look after it.
"""

# Each family with the keys that its commands use mostly: they would meet WRONGTYPE all the time otherwise.
FAMILIES = {
    b"string": b"s",
    b"hash": b"h",
    b"list": b"l",
    b"set": b"e",
    b"sorted-set": b"z",
    b"stream": b"x",
    b"bitmap": b"b",
    b"hyperloglog": b"p",
    b"geo": b"g",
    b"generic": None,
}

# What two servers need not agree on: chance, cursors, the time, the inside.
LEFT_OUT = set(
    b"spop srandmember hrandfield zrandmember randomkey scan sscan hscan zscan dump restore restore-asking migrate "
    b"wait waitaof pfdebug pfselftest xgroup|help object|help xinfo|help object|idletime object|freq object|refcount".split()
)

# Options that wait, draw, or take the time from the clock.
NO_TOKENS = {b"BLOCK", b"FREQ", b"IDLETIME"}
# Which of those that are equally far away is left out is up to chance, too; and ranges of names are for
# members with one score only (`generate.py` has keys for these).
NO_TOKENS_IN = {b"geo": {b"COUNT", b"ANY"}, b"sorted-set": {b"BYLEX"}}


class Argument:
    """One argument of a command, or a group of them."""

    def __init__(self, flat):
        fields = dict(zip(flat[::2], flat[1::2]))
        flags = fields.get(b"flags", [])
        self.name = fields[b"name"]
        self.kind = fields.get(b"type", b"string")
        self.token = fields.get(b"token")
        self.optional = b"optional" in flags
        self.multiple = b"multiple" in flags
        self.multiple_token = b"multiple_token" in flags
        self.parts = [Argument(part) for part in fields.get(b"arguments", [])]

    def tokens(self):
        if self.token:
            yield self.token
        for part in self.parts:
            yield from part.tokens()

    def without(self, allowed):
        """Takes out what has a token that is not allowed; None when nothing is left."""
        if self.token and self.token not in allowed:
            return None
        had = len(self.parts)
        self.parts = [part for part in (p.without(allowed) for p in self.parts) if part]
        if had and not self.parts or (self.kind == b"block" and len(self.parts) < had):
            return None
        return self


class Command:
    """A command, or a subcommand: its words, its family, its arguments."""

    def __init__(self, words, group, arguments):
        self.words, self.group, self.arguments = words, group, arguments
        self.name = b" ".join(words).lower()


def docs(client):
    reply = client.do("COMMAND", "DOCS")
    return {name.lower(): dict(zip(d[::2], d[1::2])) for name, d in zip(reply[::2], reply[1::2])}


def waiting(client):
    """Names of the commands that may wait, but for those that wait only when told to."""
    return {c[0] for c in client.do("COMMAND") if b"blocking" in c[2]} - {b"xread", b"xreadgroup"}


def load(ours, theirs):
    """The commands that both servers have, with the options that both know."""
    known, left_out = docs(theirs), LEFT_OUT | waiting(ours) | waiting(theirs)
    commands = []

    def add(words, group, fields, other):
        allowed = {t for a in map(Argument, other.get(b"arguments", [])) for t in a.tokens()}
        allowed -= NO_TOKENS | NO_TOKENS_IN.get(group, set())
        arguments = [a.without(allowed) for a in map(Argument, fields.get(b"arguments", []))]
        commands.append(Command(words, group, [a for a in arguments if a]))

    for name, fields in docs(ours).items():
        group, other = fields.get(b"group"), known.get(name)
        if group not in FAMILIES or other is None or name in left_out:
            continue
        subcommands = fields.get(b"subcommands")
        if not subcommands:
            add([name.upper()], group, fields, other)
            continue
        others = other.get(b"subcommands", [])
        others = {n.lower(): dict(zip(d[::2], d[1::2])) for n, d in zip(others[::2], others[1::2])}
        for sub, flat in zip(subcommands[::2], subcommands[1::2]):
            if sub.lower() in others and sub.lower() not in LEFT_OUT:
                words = [word.upper() for word in sub.split(b"|")]
                add(words, group, dict(zip(flat[::2], flat[1::2])), others[sub.lower()])
    return sorted(commands, key=lambda c: c.name)
