"""Words for commands: few keys and few values, so that they meet, and now and then nonsense."""

from commands import FAMILIES

KEYS = 6
NONSENSE = [b"", b"nan", b"abc", b"1.5", b"-1", b"9223372036854775807", b"9223372036854775808", b"1e400", b" 1", b"(", b"*"]
TEXTS = [b"a", b"b", b"c", b"aa", b"10", b"-3", b"3.25", b"", b"foobar", b"hello world", b"\x00\xff\x80"]
MEMBERS = [b"a", b"b", b"c", b"d", b"e", b"f", b"1", b"2", b"3", b"12345678901", b"m" * 70]
LONG = [b"x" * 65, b"y" * 200, b"z" * 5000]
PLACES = [(b"13.361389", b"38.115556"), (b"15.087269", b"37.502669"), (b"2.349014", b"48.864716"), (b"0", b"0")]
# Expiries are far away, or long past: nothing may happen in between.
PAST = [b"-1", b"0", b"-100"]
UNIX = [b"4000000000", b"5000000000", b"1"]
UNIX_MS = [b"4000000000000", b"5000000000000", b"1"]


class Generator:
    """Draws commands, the same for the same `rng`."""

    def __init__(self, rng, commands):
        self.rng = rng
        self.commands = [c for c in commands if c.name not in RARE]
        self.rare = [c for c in commands if c.name in RARE]
        self.group = None
        # What belongs behind the last command: a transaction comes whole.
        self.behind = []
        # Writers of a family are drawn more often than what ends it.
        self.weights = [1 if c.group == b"generic" else 4 if b"ADD" in c.words[0] or b"SET" in c.words[0] or b"PUSH" in c.words[0] else 2 for c in self.commands]
        total, self.sums = 0, []
        for weight in self.weights:
            total += weight
            self.sums.append(total)

    def command(self):
        """The next one: now and then the first of a transaction, or a script of some."""
        rng = self.rng
        if self.behind:
            return self.behind.pop()
        what = rng.random()
        if what < 0.01:
            self.behind = [*self.transaction()][::-1]
            return self.behind.pop()
        if what < 0.03:
            return script([self.inner() for _ in range(rng.choice([1, 1, 2, 4]))])
        return self.plain()

    def transaction(self):
        rng = self.rng
        if rng.random() < 0.4:
            yield [b"WATCH", *(self.key() for _ in range(rng.choice([1, 2])))]
            if rng.random() < 0.5:
                yield self.plain()
            if rng.random() < 0.1:
                yield [b"UNWATCH"]
        yield [b"MULTI"]
        for _ in range(rng.choice([0, 1, 2, 3, 5])):
            yield script([self.inner(), self.inner()]) if rng.random() < 0.1 else self.inner()
        if rng.random() < 0.02:
            yield rng.choice([[b"MULTI"], [b"WATCH", b"s1"], [b"NOSUCH"], [b"UNWATCH"]])
        yield [b"DISCARD"] if rng.random() < 0.1 else [b"EXEC"]

    def inner(self):
        """For a transaction or a script: of those that 7.2 takes with one word more, the refusal would show."""
        words = self.plain()
        return [b"PING"] if words[0] in (b"ZRANK", b"ZREVRANK") and len(words) != 3 else words

    def plain(self):
        rng = self.rng
        if self.rare and rng.random() < 0.0002:
            command = rng.choice(self.rare)
        else:
            command = rng.choices(self.commands, cum_weights=self.sums)[0]
        self.name, self.group, self.keys, self.many = command.name, command.group, 0, False
        special = SPECIAL.get(command.name)
        words = list(command.words)
        if special:
            words += special(self)
        else:
            for argument in command.arguments:
                self.fill(argument, words)
        if rng.random() < 0.03:
            self.spoil(words, len(command.words))
        return words

    def spoil(self, words, fixed):
        rng = self.rng
        at = rng.randrange(fixed, len(words) + 1)
        what = rng.randrange(3)
        if what == 0 or at == len(words):
            words.insert(at, rng.choice(NONSENSE))
        elif what == 1:
            del words[at]
        else:
            words[at] = rng.choice(NONSENSE)
        # What was spoilt may not take another meaning that waits or draws.
        upper = {word.upper() for word in words}
        by_time = words[0] == b"XADD" and b"*" in words
        other_score = words[0] == b"ZADD" and words[1:2] and words[1][:1] == b"y"
        by_name = other_score or b"BYLEX" in upper or b"LEX" in words[0][-8:]
        if b"BLOCK" in upper or by_time or by_name:
            words[:] = [b"PING"]

    def fill(self, argument, words):
        rng = self.rng
        if argument.optional and rng.random() < 0.6:
            return
        times = 1
        if argument.multiple:
            # Now and then enough to make a small value large.
            many = [20, 40] if argument.kind == b"key" else [20, 40, 40, 200, 700]
            times = rng.choice([1, 1, 2, 3]) if rng.random() < 0.97 else rng.choice(many)
        self.many = times > 100
        if argument.name == b"numkeys":
            self.keys = rng.choice([1, 2, 2, 3])
            words.append(b"%d" % self.keys if rng.random() < 0.98 else rng.choice(NONSENSE))
            return
        if argument.kind == b"key" and argument.multiple and self.keys:
            times = self.keys
        if argument.name == b"weight" and self.keys:
            times = self.keys
        if argument.kind == b"pure-token":
            words.append(argument.token)
            return
        for n in range(times):
            if argument.token and (n == 0 or argument.multiple_token):
                words.append(argument.token)
            if argument.kind == b"oneof":
                self.fill_plain(rng.choice(argument.parts), words)
            elif argument.kind == b"block":
                for part in argument.parts:
                    self.fill(part, words)
            else:
                words.append(self.value(argument))

    def fill_plain(self, argument, words):
        optional, argument.optional = argument.optional, False
        self.fill(argument, words)
        argument.optional = optional

    def key(self):
        rng = self.rng
        prefix = FAMILIES.get(self.group)
        if prefix is None or rng.random() < 0.06:
            prefix = rng.choice([b"s", b"h", b"l", b"e", b"z", b"x", b"b", b"p", b"g"])
        return b"%b%d" % (prefix, rng.randrange(KEYS))

    def ahead(self, zeros):
        """A time to live. Hardly ever the same one: which of two is greater would be a matter of milliseconds."""
        return b"%d%b" % (self.rng.randrange(100, 100_000), zeros) if self.rng.random() < 0.8 else self.rng.choice(PAST)

    def stream_id(self):
        rng = self.rng
        return b"%d-%d" % (rng.randrange(60), rng.randrange(4)) if rng.random() < 0.8 else b"%d" % rng.randrange(60)

    def number(self):
        rng = self.rng
        what = rng.random()
        if what < 0.8:
            return b"%d" % rng.randrange(-4, 12)
        return b"%d" % rng.randrange(-200, 200) if what < 0.97 else rng.choice(NONSENSE)

    def double(self):
        rng = self.rng
        what = rng.random()
        if what < 0.6:
            return b"%d" % rng.randrange(-5, 10)
        if what < 0.9:
            return repr(rng.randrange(-4000, 8000) / 64).encode()
        return rng.choice([b"inf", b"-inf", b"1e300", b"0.1", b"-0", b"1e-7", b"3.0e5", b"123456789012345678"])

    def text(self):
        rng = self.rng
        what = rng.random()
        if what < 0.7:
            return rng.choice(TEXTS)
        if what < 0.93:
            return b"%d" % rng.randrange(100)
        return rng.choice(LONG)

    def member(self):
        rng = self.rng
        what = rng.random()
        if what < (0.75 if not self.many else 0.1):
            return rng.choice(MEMBERS)
        return b"%b%d" % (rng.choice([b"", b"n", b"q"]), rng.randrange(600)) if what < 0.99 else self.text()

    def bound(self):
        """One end of a range of scores, names or ranks."""
        rng = self.rng
        what = rng.random()
        if what < 0.5 or self.name in (b"zremrangebyrank", b"zrevrange"):
            return self.number()
        if what < 0.7:
            return rng.choice([b"", b"("]) + self.double()
        return rng.choice([b"-inf", b"+inf", b"-", b"+", b"[a", b"(b", b"[f", b"[zz", b"(2"])

    def value(self, argument):
        rng, name, kind = self.rng, argument.name, argument.kind
        if kind == b"key" or name in (b"source", b"destination", b"key", b"destkey"):
            return self.key()
        by_name = BY_NAME.get(name)
        if by_name:
            return by_name(self)
        if self.group == b"stream" and name in (b"id", b"start", b"end", b"threshold", b"lastid", b"last-id"):
            return rng.choice([b"-", b"+", b"0", b"(3-1", self.stream_id(), self.stream_id()])
        if name in (b"start", b"stop", b"end", b"min", b"max") and self.group == b"sorted-set":
            return self.bound()
        if kind == b"integer":
            return self.number()
        if kind == b"double":
            return self.double()
        if kind == b"unix-time":
            return rng.choice(UNIX_MS if b"milli" in name else UNIX)
        if kind == b"pattern":
            return rng.choice([b"*", b"s*", b"?1", b"[hl]*", b"*->f", b"#", b"nosort", b"s*->a"])
        return self.text()


# Calls each of the commands in ARGV, which stand behind the number of their words.
CALLS = (
    b"local all, at = {}, 1 while at <= #ARGV do local n = tonumber(ARGV[at]) "
    b"all[#all + 1] = redis.pcall(unpack(ARGV, at + 1, at + n)) at = at + n + 1 end return all"
)


def script(commands):
    words = [b"EVAL", CALLS, b"0"]
    for command in commands:
        words += [b"%d" % len(command), *command]
    return words


def one_of(values):
    return lambda g: g.rng.choice(values)


BY_NAME = {
    b"seconds": lambda g: g.ahead(b"000"),
    b"milliseconds": lambda g: g.ahead(b"000000"),
    b"unix-time-seconds": one_of(UNIX),
    b"unix-time-milliseconds": one_of(UNIX_MS),
    b"member": Generator.member,
    b"field": Generator.member,
    b"element": Generator.member,
    b"pivot": Generator.member,
    b"group": one_of([b"g1", b"g1", b"g2", b"none"]),
    b"consumer": one_of([b"c1", b"c1", b"c2"]),
    b"min-idle-time": one_of([b"0", b"0", b"1000000000"]),
    b"encoding": one_of([b"u8", b"i5", b"u4", b"i16", b"u63", b"i64", b"u64", b"i0"]),
    b"bit": one_of([b"0", b"1", b"1", b"2"]),
    b"longitude": lambda g: g.rng.choice(PLACES)[0],
    b"latitude": lambda g: g.rng.choice(PLACES)[1],
    b"radius": one_of([b"1", b"100", b"500.5", b"2000", b"-1"]),
    b"width": one_of([b"100", b"800", b"3000"]),
    b"height": one_of([b"100", b"800", b"3000"]),
    b"destination-db": one_of([b"0", b"1", b"0", b"99"]),
    b"db": one_of([b"0", b"1", b"99"]),
    b"index": lambda g: b"%d" % g.rng.randrange(-3, 10),
}


def offset(g):
    if g.group == b"bitmap" or g.name in (b"setrange",):
        return g.rng.choice([b"0", b"3", b"7", b"8", b"100", b"#2", b"1000", b"-1"])
    return g.number()


BY_NAME[b"offset"] = offset


def xadd(g):
    rng = g.rng
    words = [g.key()]
    if rng.random() < 0.2:
        words.append(b"NOMKSTREAM")
    if rng.random() < 0.3:
        words += rng.choice([[b"MAXLEN", b"%d" % rng.randrange(20)], [b"MINID", g.stream_id()], [b"MAXLEN", b"=", b"3"]])
    words.append(rng.choice([g.stream_id(), b"%d-*" % rng.randrange(60), b"%d-%d" % (rng.randrange(50, 5000), rng.randrange(9))]))
    for _ in range(rng.choice([1, 1, 2])):
        words += [g.member(), g.text()]
    return words


NAMES = [b"-", b"+", b"[a", b"(b", b"[f", b"[zz", b"(2", b"[", b"a"]


def zadd(g):
    """Now and then to a key of members with one score, which ranges of names are for."""
    rng = g.rng
    if rng.random() < 0.2:
        return [b"y%d" % rng.randrange(KEYS), *(w for _ in range(rng.choice([1, 2, 30])) for w in (b"0", g.member()))]
    words = []
    for argument in next(c for c in g.commands if c.name == g.name).arguments:
        g.fill(argument, words)
    return words


def names(g):
    words = [b"y%d" % g.rng.randrange(KEYS), g.rng.choice(NAMES), g.rng.choice(NAMES)]
    if g.name in (b"zrangebylex", b"zrevrangebylex") and g.rng.random() < 0.3:
        words += [b"LIMIT", g.number(), g.number()]
    return words


def zrange(g):
    if g.rng.random() < 0.2:
        return [*names(g), b"BYLEX", *([b"REV"] if g.rng.random() < 0.5 else [])]
    words = []
    for argument in next(c for c in g.commands if c.name == g.name).arguments:
        g.fill(argument, words)
    return words


def streams(g):
    """The end of an XREAD: as many ids as keys, mostly."""
    rng = g.rng
    keys = [g.key() for _ in range(rng.choice([1, 1, 2, 3]))]
    last = [b">", b">", b"0"] if g.name == b"xreadgroup" else [b"$", b"0", b"0-0"]
    ids = [rng.choice([*last, g.stream_id()]) for _ in keys]
    return [b"STREAMS", *keys, *(ids if rng.random() < 0.98 else ids[1:])]


def xread(g):
    words = [b"COUNT", g.number()] if g.rng.random() < 0.5 else []
    return [*words, *streams(g)]


def xreadgroup(g):
    rng = g.rng
    words = [b"GROUP", rng.choice([b"g1", b"g1", b"g2"]), rng.choice([b"c1", b"c2"])]
    if rng.random() < 0.5:
        words += [b"COUNT", g.number()]
    if rng.random() < 0.2:
        words.append(b"NOACK")
    return [*words, *streams(g)]


def xsetid(g):
    """7.2 refuses ids that 7.0 takes: only far ones."""
    rng = g.rng
    words = [g.key(), b"%d-1" % rng.randrange(10_000, 10_010)]
    return words if rng.random() < 0.5 else [*words, b"ENTRIESADDED", g.number(), b"MAXDELETEDID", b"%d-0" % rng.randrange(9, 60)]


def xclaim(g):
    rng = g.rng
    words = [g.key(), b"g1", rng.choice([b"c1", b"c2"]), rng.choice([b"0", b"0", b"1000000000"])]
    words += [g.stream_id() for _ in range(rng.choice([1, 2, 3]))]
    for option in [[b"IDLE", b"100000000"], [b"RETRYCOUNT", b"3"], [b"FORCE"], [b"JUSTID"], [b"LASTID", g.stream_id()]]:
        if rng.random() < 0.25:
            words += option
    return words


def sort(g):
    """Never an order that is left to chance."""
    rng = g.rng
    words = [rng.choice([b"l", b"l", b"z", b"s", b"h"]) + b"%d" % rng.randrange(KEYS)]
    for option in [[b"BY", b"s*"], [b"LIMIT", b"0", b"3"], [b"GET", b"#"], [b"GET", b"s*"], [b"DESC"], [b"ALPHA"]]:
        if rng.random() < 0.4 and not (option == [b"ALPHA"] and b"BY" in words):
            words += option
    if g.name == b"sort" and rng.random() < 0.2:
        words += [b"STORE", g.key()]
    return words


def object_(g):
    return [g.key()]


RARE = {b"flushall", b"flushdb", b"swapdb"}
SPECIAL = {
    b"xadd": xadd,
    b"zadd": zadd,
    b"zrange": zrange,
    b"zlexcount": names,
    b"zrangebylex": names,
    b"zrevrangebylex": names,
    b"zremrangebylex": names,
    b"xclaim": xclaim,
    b"xread": xread,
    b"xsetid": xsetid,
    b"xreadgroup": xreadgroup,
    b"sort": sort,
    b"sort_ro": sort,
    b"object encoding": object_,
    b"flushall": lambda g: [],
    b"flushdb": lambda g: [],
    b"swapdb": lambda g: [b"0", b"0"],
}
