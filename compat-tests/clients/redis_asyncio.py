"""redis-py's asyncio client: many tasks, pipelines, messages, waiting, cancelling. `python redis_asyncio.py PORT`"""
import asyncio

import redis
import redis.asyncio

from checks import check, port, result


async def tasks(r):
    """Fifty tasks over a pool of ten connections."""
    pool = redis.asyncio.BlockingConnectionPool(port=port, protocol=r.protocol, max_connections=10, timeout=20)
    pooled = redis.asyncio.Redis(connection_pool=pool)

    async def count(i):
        for _ in range(40):
            await pooled.incr("tasks")
            await pooled.hincrby("by task", i, 1)

    await asyncio.gather(*(count(i) for i in range(50)))
    check("tasks", [await r.get("tasks"), await r.hvals("by task")], ["2000", ["40"] * 50])
    await pooled.aclose()
    await pool.disconnect()


async def pipelines(r):
    async with r.pipeline(transaction=True) as pipe:
        check("a transaction", await pipe.set("a", 1).incr("a").get("a").execute(), [True, 2, "2"])
    async with r.pipeline(transaction=False) as pipe:
        for i in range(5000):
            pipe.rpush("list", i)
        check("5,000 in a pipeline", (await pipe.execute())[-1], 5000)

    async def increment(pipe):
        value = int(await pipe.get("watched") or 0)
        await asyncio.sleep(0)
        pipe.multi()
        pipe.set("watched", value + 1)

    async def some():
        for _ in range(20):
            await r.transaction(increment, "watched")

    await asyncio.gather(*(some() for _ in range(5)))
    check("watched, and tried again", await r.get("watched"), "100")


async def messages(r):
    async with r.pubsub() as ear:
        await ear.subscribe("news")
        await ear.psubscribe("ne*")
        check("subscribed", [(await ear.get_message(timeout=5))["type"] for _ in range(2)], ["subscribe", "psubscribe"])
        check("publish", await r.publish("news", "hello"), 2)
        heard = [await ear.get_message(timeout=5) for _ in range(2)]
        check("heard", [(m["type"], m["channel"], m["data"]) for m in heard],
              [("message", "news", "hello"), ("pmessage", "news", "hello")])
        check("silence", await ear.get_message(timeout=0.05), None)
        for i in range(0, 500, 50):
            await asyncio.gather(*(r.publish("nets", i + j) for j in range(50)))
        numbers = sorted([int((await ear.get_message(timeout=5))["data"]) for _ in range(500)])
        check("500 messages", numbers, list(range(500)))


async def waiting(r):
    popped = asyncio.create_task(r.blpop(["q1", "q2"], timeout=10))
    await asyncio.sleep(0.03)
    await r.rpush("q2", "job")
    check("blpop", list(await popped), ["q2", "job"])
    read = asyncio.create_task(r.xread({"stream": "$"}, block=10000))
    await asyncio.sleep(0.03)
    await r.xadd("stream", {"f": "v"}, id="1-1")
    got = await read
    got = got["stream"][0] if isinstance(got, dict) else got[0][1]
    check("xread", [tuple(x) for x in got][-1:] if isinstance(got[0], tuple) else got[-1:], [("1-1", {"f": "v"})])

    # A task that is cancelled while it waits takes nothing.
    lost = asyncio.create_task(r.blpop("q3", timeout=10))
    await asyncio.sleep(0.03)
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    for _ in range(200):
        if (await r.info("clients"))["blocked_clients"] == 0:
            break
        await asyncio.sleep(0.01)
    await r.rpush("q3", "kept")
    check("nothing was taken", await r.lrange("q3", 0, -1), ["kept"])

    # Eight consumers of one list: each element is popped once.
    async def consume():
        mine = []
        while (got := await r.blpop("work", timeout=1)) and got[1] != "end":
            mine.append(int(got[1]))
        return mine

    consumers = [asyncio.create_task(consume()) for _ in range(8)]
    for i in range(400):
        await r.rpush("work", i)
    await r.rpush("work", *["end"] * 8)
    shares = await asyncio.gather(*consumers)
    check("each once", sorted(sum(shares, [])), list(range(400)))


async def errors(r):
    for what, attempt in {"wrong type": r.hget("a", "f"), "script": r.eval("return redis.error_reply('MINE no')", 0)}.items():
        try:
            check(what, await attempt, "an error")
        except redis.ResponseError as error:
            check(what, str(error).split()[0], {"wrong type": "WRONGTYPE", "script": "MINE"}[what])
    lock = r.lock("lock", timeout=5)
    async with lock:
        check("locked", await r.lock("lock", blocking=False).acquire(), False)
    check("released", await r.exists("lock"), 0)
    found = [key async for key in r.scan_iter("by*")]
    check("scan", found, ["by task"])


async def main():
    for protocol in (2, 3):
        r = redis.asyncio.Redis(port=port, protocol=protocol, decode_responses=True)
        r.protocol = protocol
        await r.flushall()
        for part in (tasks, pipelines, messages, waiting, errors):
            await asyncio.wait_for(part(r), 60)
        await r.aclose()


asyncio.run(main())
result("redis-py-asyncio")
