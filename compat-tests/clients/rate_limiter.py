"""Rate limiters as Lua scripts: a sliding window and a token bucket, asked by many clients at once, of which
exactly as many pass as may. `python rate_limiter.py PORT`"""
import threading
import time

import redis

from checks import check, port, result

SLIDING_WINDOW = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2] * 1000)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
local number = redis.call('INCR', KEYS[1] .. ':number')
redis.call('ZADD', KEYS[1], now, now .. '-' .. number)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1] .. ':number', ARGV[2])
return 1
"""

TOKEN_BUCKET = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1]) or capacity
tokens = math.min(capacity, tokens + (now - (tonumber(bucket[2]) or now)) * rate)
local passed = 0
if tokens >= 1 then
  tokens = tokens - 1
  passed = 1
end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], 60)
return {passed, string.format('%.3f', tokens)}
"""

clients = 16


def crowd(protocol, ask):
    """Each of many clients calls `ask(connection, script cache, number)`; gives how often it was true, and all answers."""
    answers = []
    start = threading.Barrier(clients)

    def one(number):
        mine = redis.Redis(port=port, protocol=protocol, decode_responses=True)
        mine.ping()
        start.wait()
        answers.extend(ask(mine, number))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sum(answers), len(answers)


for protocol in (2, 3):
    r = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    r.flushall()
    r.script_flush()
    window = r.register_script(SLIDING_WINDOW)
    bucket = r.register_script(TOKEN_BUCKET)

    def ask_window(mine, _number):
        return [window(keys=["window"], args=[100, 60000], client=mine) for _ in range(20)]

    check("exactly 100 of 320 pass", crowd(protocol, ask_window), (100, 320))
    check("and no more", crowd(protocol, ask_window), (0, 320))
    check("the window's entries", [r.zcard("window"), 0 < r.pttl("window") <= 60000], [100, True])

    def ask_many(mine, number):
        return [window(keys=[f"user:{number % 4}"], args=[30, 60000], client=mine) for _ in range(20)]

    check("30 of each of 4 users", crowd(protocol, ask_many), (120, 320))

    # The window slides: five in any 300 ms.
    times = []
    end = time.monotonic() + 1.1
    while time.monotonic() < end:
        asked = time.monotonic()
        if window(keys=["short"], args=[5, 300]):
            times.append((asked, time.monotonic()))
        time.sleep(0.005)
    tight = [i for i in range(len(times) - 5) if times[i + 5][1] - times[i][0] < 0.3]
    check("never six within 300 ms", tight, [])
    check("about five each time", 10 <= len(times) <= 20, True)

    # A bucket without refill lets its capacity through, however it is asked.
    def ask_bucket(mine, _number):
        return [bucket(keys=["bucket"], args=[50, 0], client=mine)[0] for _ in range(10)]

    check("exactly 50 of 160", crowd(protocol, ask_bucket), (50, 160))

    # A pipeline of them is as many questions.
    pipe = r.pipeline(transaction=False)
    for _ in range(20):
        bucket(keys=["piped"], args=[7, 0], client=pipe)
    check("7 of a pipeline's 20", [x[0] for x in pipe.execute()], [1] * 7 + [0] * 13)

    # With a refill of 100 a second: the capacity, and what came in between.
    began = time.monotonic()

    def ask_refilled(mine, _number):
        told = []
        while time.monotonic() - began < 1:
            told.append(bucket(keys=["refilled"], args=[20, 100], client=mine)[0])
            time.sleep(0.002)
        return told

    passed, asked = crowd(protocol, ask_refilled)
    took = time.monotonic() - began
    check(f"{passed} of {asked} in {took:.3f} s", 20 + 100 * 0.8 <= passed <= 20 + 100 * took + 1, True)

result("rate-limiter")
