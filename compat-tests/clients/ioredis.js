// ioredis against a server. `node ioredis.js PORT`
const Redis = require("ioredis");
const { assert, check, eventually, port, rejects, run, sleep } = require("./check");

const connect = (options = {}) => new Redis({ port, host: "127.0.0.1", ...options });

async function everyDay(r) {
  check("ping", await r.ping(), "PONG");
  check("set", await r.set("k", "v", "EX", 100), "OK");
  check("get", await r.get("k"), "v");
  check("mset", await r.mset({ a: 1, b: 2 }), "OK");
  check("mget", await r.mget("a", "b", "c"), ["1", "2", null]);
  check("incr", await r.incr("n"), 1);
  check("hset", await r.hset("h", { x: 1, y: 2 }), 2);
  check("hgetall", { ...(await r.hgetall("h")) }, { x: "1", y: "2" });
  check("buffer", await r.getBuffer("k"), Buffer.from("v"));
  const many = await Promise.all(Array.from({ length: 1000 }, (_, i) => r.set(`scan:${i}`, i)));
  check("many", many.every((x) => x === "OK"), true);
  const found = new Set();
  for await (const keys of r.scanStream({ match: "scan:*", count: 100 })) keys.forEach((k) => found.add(k));
  check("scan", found.size, 1000);
  await rejects("wrong type", () => r.hget("n", "x"), /WRONGTYPE/);
  check("info", /redis_version:7/.test(await r.info()), true);
  check("zset", [await r.zadd("z", 1, "one", 2.5, "two"), await r.zrange("z", 0, -1, "WITHSCORES")], [
    2,
    ["one", "1", "two", "2.5"],
  ]);
}

async function pipelines(r) {
  await r.set("n", 1);
  check("pipeline", await r.pipeline().incr("n").incr("n").get("n").exec(), [[null, 2], [null, 3], [null, "3"]]);
  const mixed = await r.pipeline().get("n").hget("n", "x").get("n").exec();
  check("an error amid a pipeline", [mixed[0][1], /WRONGTYPE/.test(mixed[1][0].message), mixed[2][1]], ["3", true, "3"]);
  check("multi", await r.multi().set("m", 1).incr("m").exec(), [[null, "OK"], [null, 2]]);
  await rejects("a refused multi", () => r.multi().set("m").exec(), /EXECABORT|wrong number/);
  const big = r.pipeline();
  for (let i = 0; i < 10000; i++) big.rpush("list", `element ${i}`);
  check("10,000 in a pipeline", (await big.exec()).at(-1), [null, 10000]);

  const other = connect();
  await r.watch("watched");
  await other.set("watched", "changed");
  check("watch", await r.multi().set("watched", "mine").exec(), null);
  check("watched", await r.get("watched"), "changed");
  const auto = connect({ enableAutoPipelining: true });
  const numbers = await Promise.all(Array.from({ length: 500 }, () => auto.incr("auto")));
  check("automatic pipelines", numbers, Array.from({ length: 500 }, (_, i) => i + 1));
  await Promise.all([other.quit(), auto.quit()]);
}

async function messages(r) {
  const ear = connect();
  const heard = [];
  ear.on("message", (channel, text) => heard.push([channel, text]));
  ear.on("pmessage", (pattern, channel, text) => heard.push([pattern, channel, text]));
  check("subscribe", await ear.subscribe("news", "more"), 2);
  check("psubscribe", await ear.psubscribe("n?ws"), 3);
  check("publish", await r.publish("news", "hello"), 2);
  await eventually("messages", () => heard.length === 2);
  check("heard", heard, [["news", "hello"], ["n?ws", "news", "hello"]]);
  check("numsub", await r.pubsub("NUMSUB", "news", "none"), ["news", 1, "none", 0]);
  for (let i = 0; i < 1000; i++) r.publish("more", `${i}`);
  await eventually("a thousand messages", () => heard.length === 1002);
  check("in order", heard.slice(2).map((m) => Number(m[1])), Array.from({ length: 1000 }, (_, i) => i));
  check("unsubscribe", await ear.unsubscribe("news", "more"), 1);
  check("punsubscribe", await ear.punsubscribe("n?ws"), 0);
  check("commands again", await ear.ping(), "PONG");

  // A subscriber whose connection is cut subscribes again by itself.
  await ear.subscribe("again");
  const id = (await r.client("LIST", "TYPE", "pubsub")).match(/id=(\d+)/)[1];
  check("kill", await r.client("KILL", "ID", id), 1);
  await eventually("subscribed again", async () => (await r.publish("again", "x")) === 1);
  await ear.quit();
}

async function scripts(r) {
  r.defineCommand("take", {
    numberOfKeys: 1,
    lua: `local left = tonumber(redis.call("GET", KEYS[1]) or ARGV[1])
          if left <= 0 then return {err = "EMPTY nothing is left"} end
          redis.call("SET", KEYS[1], left - 1)
          return left - 1`,
  });
  check("a script", [await r.take("stock", 2), await r.take("stock", 2)], [1, 0]);
  await rejects("a script's error", () => r.take("stock", 2), /EMPTY/);
  await r.script("FLUSH");
  await r.set("stock", 5);
  check("EVALSHA, then EVAL", await r.take("stock", 2), 4);
  await r.script("FLUSH");
  check("scripts in a pipeline", await r.pipeline().take("stock", 2).take("stock", 2).exec(), [[null, 3], [null, 2]]);
  check("a table", await r.eval("return {1, 'two', false, {3}}", 0), [1, "two", null, [3]]);
}

async function waiting(r) {
  const other = connect();
  const popped = other.blpop("queue", 10);
  await sleep(30);
  await r.rpush("queue", "job");
  check("blpop", await popped, ["queue", "job"]);
  check("blpop in vain", await other.blpop("queue", 0.05), null);
  const read = other.xread("BLOCK", 10000, "STREAMS", "stream", "$");
  await sleep(30);
  await r.xadd("stream", "1-1", "field", "value");
  check("xread", await read, [["stream", [["1-1", ["field", "value"]]]]]);
  const popper = other.bzpopmin("zqueue", 10);
  await sleep(30);
  await r.zadd("zqueue", 5, "member");
  check("bzpopmin", await popper, ["zqueue", "member", "5"]);
  await other.quit();
}

async function connections(r) {
  const prefixed = connect({ keyPrefix: "app:", db: 3, connectionName: "prefixed" });
  await prefixed.set("k", "v");
  check("name", await prefixed.client("GETNAME"), "prefixed");
  check("prefix", [await prefixed.get("k"), await r.get("app:k")], ["v", null]);
  check("database", await prefixed.dbsize(), 1);
  await r.client("KILL", "ID", await prefixed.client("ID"));
  check("connected again", await prefixed.get("k"), "v");
  await prefixed.flushdb();
  await prefixed.quit();

  const monitor = await connect().monitor();
  const seen = [];
  monitor.on("monitor", (_, args) => seen.push(args));
  await eventually("monitor", async () => {
    await r.set("watched by", "monitor");
    return seen.some((args) => args[0].toLowerCase() === "set" && args[2] === "monitor");
  });
  monitor.disconnect();

  const offline = connect({ lazyConnect: true });
  check("lazy", [offline.status, await offline.ping(), offline.status], ["wait", "PONG", "ready"]);
  await offline.quit();
  await assert.rejects(() => offline.ping());
}

run("ioredis", async () => {
  const r = connect();
  await r.flushall();
  for (const part of [everyDay, pipelines, messages, scripts, waiting, connections]) await part(r);
  await r.quit();
});
