// node-redis against a server, in RESP2 and RESP3. `node node_redis.js PORT`
const { createClient, createClientPool, defineScript, WatchError } = require("redis");
const { check, eventually, port, rejects, run, sleep } = require("./check");

async function everyDay(r) {
  check("ping", await r.ping(), "PONG");
  check("set", await r.set("k", "v", { EX: 100 }), "OK");
  check("get", await r.get("k"), "v");
  check("missing", await r.get("nokey"), null);
  check("mget", await r.mGet(["k", "nokey"]), ["v", null]);
  check("incr", await r.incrBy("n", 5), 5);
  check("hset", await r.hSet("h", { x: "1", y: "2" }), 2);
  check("hgetall", { ...(await r.hGetAll("h")) }, { x: "1", y: "2" });
  check("expire", await r.expire("h", 100), 1);
  check("zadd", await r.zAdd("z", [{ score: 1, value: "a" }, { score: 2.5, value: "b" }]), 2);
  check("zrange", (await r.zRangeWithScores("z", 0, -1)).map((m) => [m.value, m.score]), [["a", 1], ["b", 2.5]]);
  check("zscore", await r.zScore("z", "b"), 2.5);
  check("sets", [await r.sAdd("s", ["a", "b"]), (await r.sMembers("s")).length, await r.sIsMember("s", "a")], [2, 2, 1]);
  check("geo", await r.geoAdd("g", { longitude: 13.361389, latitude: 38.115556, member: "Palermo" }), 1);
  const many = await Promise.all(Array.from({ length: 1000 }, (_, i) => r.set(`scan:${i}`, `${i}`)));
  check("many", many.length, 1000);
  const found = new Set();
  for await (const keys of r.scanIterator({ MATCH: "scan:*", COUNT: 100 })) keys.forEach((k) => found.add(k));
  check("scan", found.size, 1000);
  await rejects("wrong type", () => r.hGet("n", "x"), /WRONGTYPE/);
}

async function transactions(r) {
  check("multi", await r.multi().set("m", "1").incr("m").get("m").exec(), ["OK", 2, "2"]);
  check("pipeline", await r.multi().incr("m").incr("m").execAsPipeline(), [3, 4]);
  const mixed = await r.multi().incr("m").hGet("m", "x").execAsPipeline().catch((e) => e);
  check("an error amid a pipeline", /WRONGTYPE|fail/i.test(`${mixed.message} ${mixed.replies}`), true);
  const other = r.duplicate();
  await other.connect();
  await other.watch("m");
  await r.set("m", "changed");
  await rejects("watch", () => other.multi().set("m", "mine").exec(), WatchError);
  check("watched", await r.get("m"), "changed");
  await other.close();
}

async function messages(r) {
  const ear = r.duplicate();
  await ear.connect();
  const heard = [];
  await ear.subscribe("news", (text, channel) => heard.push([channel, text]));
  await ear.pSubscribe("n?ws", (text, channel) => heard.push(["n?ws", channel, text]));
  await ear.sSubscribe("shard", (text, channel) => heard.push([channel, text]));
  check("publish", await r.publish("news", "hello"), 2);
  await eventually("messages", () => heard.length === 2);
  check("heard", heard, [["news", "hello"], ["n?ws", "news", "hello"]]);
  check("spublish", await r.sPublish("shard", "here"), 1);
  await eventually("a shard message", () => heard.length === 3);
  await ear.unsubscribe("news");
  await ear.pUnsubscribe("n?ws");
  check("nobody", await r.publish("news", "x"), 0);
  await ear.sUnsubscribe("shard");
  await ear.close();
}

async function streams(r) {
  check("group", await r.xGroupCreate("stream", "group", "$", { MKSTREAM: true }), "OK");
  for (let i = 1; i <= 3; i++) await r.xAdd("stream", `${i}-0`, { n: `${i}` });
  const read = await r.xReadGroup("group", "me", { key: "stream", id: ">" }, { COUNT: 2 });
  // In RESP3 the client hands out the map as it came.
  const messages = read.stream || read[0].messages.map((m) => [m.id, Object.entries(m.message).flat()]);
  check("xreadgroup", messages, [["1-0", ["n", "1"]], ["2-0", ["n", "2"]]]);
  check("xack", await r.xAck("stream", "group", "1-0"), 1);
  check("xpending", (await r.xPending("stream", "group")).pending, 1);
  const claimed = await r.xAutoClaim("stream", "group", "you", 0, "0-0");
  check("xautoclaim", claimed.messages.map((m) => m.id), ["2-0"]);
  check("xlen", await r.xLen("stream"), 3);
}

async function waiting(r) {
  const pool = createClientPool({ RESP: r.options.RESP, socket: { port, host: "127.0.0.1" } }, { maximum: 4 });
  await pool.connect();
  const popped = pool.execute((c) => c.blPop("queue", 10));
  await sleep(30);
  await r.rPush("queue", "job");
  check("blpop", { ...(await popped) }, { key: "queue", element: "job" });
  check("in vain", await pool.blPop("queue", 0.05), null);
  const numbers = await Promise.all(Array.from({ length: 200 }, () => pool.incr("pool")));
  check("a pool", numbers.sort((a, b) => a - b).at(-1), 200);
  await pool.close();
}

run("node-redis", async () => {
  for (const RESP of [2, 3]) {
    const add = defineScript({
      NUMBER_OF_KEYS: 1,
      SCRIPT: 'return redis.call("INCRBY", KEYS[1], ARGV[1]) * 2',
      parseCommand(parser, key, n) {
        parser.pushKey(key);
        parser.push(`${n}`);
      },
      transformReply: (reply) => reply,
    });
    const r = createClient({ RESP, scripts: { add }, socket: { port, host: "127.0.0.1" } });
    r.on("error", (error) => console.error(`node-redis: ${error.message}`));
    await r.connect();
    await r.flushAll();
    for (const part of [everyDay, transactions, messages, streams, waiting]) await part(r);
    check("a script", [await r.add("script", 2), await r.add("script", 3)], [4, 10]);
    await r.scriptFlush();
    check("EVALSHA, then EVAL", await r.add("script", 1), 12);
    await r.close();
  }
});
