"""Where the two may differ, each with its reason; and replies whose order nobody promises.

ForgeKV is at the level of Redis 7.2; the server beside it is 7.0.
"""

import re

# Replies that are sets, in the order of nobody. Of pairs the pairs are.
UNORDERED = {b"HKEYS", b"HVALS", b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"KEYS"}
# Nor in which order those come that are equally far away.
UNORDERED |= {b"GEOSEARCH", b"GEORADIUS", b"GEORADIUS_RO", b"GEORADIUSBYMEMBER", b"GEORADIUSBYMEMBER_RO"}
PAIRS = {b"HGETALL"}

# Replies with the time of day in them: so far may numbers lie apart, in seconds or milliseconds.
TIMED = {b"TTL": 2, b"EXPIRETIME": 2, b"PTTL": 5000, b"PEXPIRETIME": 5000, b"XPENDING": 60000, b"XINFO": 60000, b"HTTL": 2, b"HPTTL": 5000}

# (command, ours, theirs): both are found in the replies as printed.
RULES = [
    # 7.2 has small lists and sets as listpacks, and says so.
    (b"OBJECT", rb"listpack", rb"quicklist"),
    (b"OBJECT", rb"listpack", rb"hashtable"),
    (b"OBJECT", rb"hashtable", rb"intset"),
    # A SETBIT or a BITFIELD that changes nothing leaves the value as it is; Redis makes its own copy first.
    (b"OBJECT", rb"int|embstr", rb"raw"),
    # 7.2 compares with the largest deleted id, too, and first.
    (b"XSETID", rb"smaller than current max_deleted_entry_id", rb"smaller than"),
    # SORT makes a small sorted set a large one in Redis.
    (b"OBJECT", rb"listpack", rb"skiplist"),
    # 7.2 looks at the arguments also when there is no key.
    (b"BITCOUNT", rb"ERR (value is not an integer|syntax error)", rb"^0$|WRONGTYPE"),
    (b"BITPOS", rb"ERR (value is not an integer|syntax error|The bit argument)", rb"^(0|-1)$|WRONGTYPE"),
    # 7.2 has WITHSCORE.
    (b"ZRANK", rb"ERR syntax error", rb"ERR wrong number of arguments"),
    (b"ZREVRANK", rb"ERR syntax error", rb"ERR wrong number of arguments"),
    # A double beyond 64 bits becomes the greatest integer here, and in Redis what the processor makes of it.
    (b"EVAL", rb"9223372036854775807", rb"-9223372036854775808"),
    # 7.2 makes a consumer that reads or claims, also when it gets nothing.
    (b"XGROUP", rb"^0$", rb"^1$"),
    # 7.2 names the command as it was called.
    (None, rb"Unbalanced 'xread(group)?' list of streams", rb"Unbalanced XREAD list of streams"),
]


# From here on the two may have other values, with a reason: (command, ours).
PARTINGS = [
    # Bytes that APPEND put behind a HyperLogLog: Redis adds to what it can still read.
    (b"PFADD", rb"INVALIDOBJ"),
    (b"PFMERGE", rb"INVALIDOBJ"),
    (b"PFCOUNT", rb"INVALIDOBJ"),
    (b"XSETID", rb"smaller than current max_deleted_entry_id"),
]


def parts(words, ours):
    """Whether a difference is the end of a common way that was to be expected."""
    return any(words[0] in (name, b"EXEC", b"EVAL") and re.search(one, repr(ours).encode()) for name, one in PARTINGS)


def excused(words, ours, theirs):
    """Whether a difference is one of those above."""
    name, a, b = words[0], repr(ours).encode(), repr(theirs).encode()
    # Redis compares as C does, up to the first zero byte: what is equal by that comes in any order.
    if name in (b"SORT", b"SORT_RO") and b"ALPHA" in words and b"\\x00" in a + b:
        return True
    return any(
        (command in (None, name)) and re.search(one, a) and re.search(other, b) for command, one, other in RULES
    )


def without_idle_consumers(reply):
    """What XINFO says, without what 7.2 adds to it: consumers that never got anything, and times."""
    if not isinstance(reply, list):
        return reply
    if reply and reply[0] in (b"name", b"length") and len(reply) % 2 == 0:
        fields = dict(zip(reply[::2], map(without_idle_consumers, reply[1::2])))
        for newer in (b"inactive", b"active-time", b"seen-time", b"idle"):
            fields.pop(newer, None)
        if isinstance(fields.get(b"consumers"), int):
            del fields[b"consumers"]
        if fields.keys() <= {b"name", b"pending", b"pel-count"} and not fields.get(b"pending", 0):
            return None
        return sorted(fields.items())
    return [part for part in map(without_idle_consumers, reply) if part is not None or not reply]


def canonical(words, reply):
    name = words[0]
    if isinstance(reply, list):
        if name == b"XINFO":
            return without_idle_consumers(reply)
        if name in UNORDERED:
            return sorted(reply, key=repr)
        if name in PAIRS:
            return sorted(zip(reply[::2], reply[1::2]))
    return reply


def near(one, other, slack):
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(near(a, b, slack) for a, b in zip(one, other))
    if isinstance(one, int) and isinstance(other, int):
        return one == other or (one >= 0 and other >= 0 and abs(one - other) <= slack)
    return same_plain(one, other)


def alike(one, other):
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return same_plain(one, other) or (isinstance(one, bytes) and same_double(one, other))


def same_double(one, other):
    """7.2 prints the shortest digits of a double, 7.0 seventeen."""
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return False


def same_plain(one, other):
    if isinstance(one, Exception) and isinstance(other, Exception):
        return str(one) == str(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_plain, one, other))
    return type(one) is type(other) and one == other


def calls(words):
    """The commands that a script of the generator calls; None for another command."""
    if words[0] != b"EVAL":
        return None
    rest, found = words[3:], []
    while rest:
        n = int(rest[0])
        found.append(rest[1 : n + 1])
        rest = rest[n + 1 :]
    return found


def same(words, ours, theirs, queued=None):
    """Whether the two replies to a command agree; those of EXEC to the commands that were queued."""
    inner = queued if words[0] == b"EXEC" else calls(words)
    if inner and isinstance(ours, list) and isinstance(theirs, list):
        agree = len(inner) == len(ours) == len(theirs) and all(map(same, inner, ours, theirs))
        return agree or excused(words, ours, theirs)
    one, other = canonical(words, ours), canonical(words, theirs)
    if same_plain(one, other):
        return True
    if words[0][:1] == b"Z" or words[0][:3] == b"GEO":
        if alike(one, other):
            return True
    slack = TIMED.get(words[0])
    if slack is not None and near(one, other, slack):
        return True
    return excused(words, ours, theirs)
