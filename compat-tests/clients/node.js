// ioredis and node-redis against a server. `node node.js PORT`
const assert = require("node:assert");
const port = Number(process.argv[2]);
let passed = 0;
const check = (what, got, want) => {
  assert.deepStrictEqual(got, want, what);
  passed += 1;
};

async function ioredis() {
  const Redis = require("ioredis");
  const r = new Redis({ port, host: "127.0.0.1" });
  await r.flushall();
  check("ping", await r.ping(), "PONG");
  check("set", await r.set("k", "v", "EX", 100), "OK");
  check("get", await r.get("k"), "v");
  check("mset", await r.mset({ a: 1, b: 2 }), "OK");
  check("mget", await r.mget("a", "b", "c"), ["1", "2", null]);
  check("incr", await r.incr("n"), 1);
  check("hset", await r.hset("h", { x: 1, y: 2 }), 2);
  check("hgetall", { ...(await r.hgetall("h")) }, { x: "1", y: "2" });
  check("buffer", await r.getBuffer("k"), Buffer.from("v"));
  const replies = await r.pipeline().incr("n").incr("n").get("n").exec();
  check("pipeline", replies, [[null, 2], [null, 3], [null, "3"]]);
  const many = await Promise.all(Array.from({ length: 1000 }, (_, i) => r.set(`scan:${i}`, i)));
  check("many", many.every((x) => x === "OK"), true);
  const found = new Set();
  for await (const keys of r.scanStream({ match: "scan:*", count: 100 })) keys.forEach((k) => found.add(k));
  check("scan", found.size, 1000);
  await assert.rejects(() => r.hget("n", "x"), /WRONGTYPE/);
  check("info", /redis_version:7/.test(await r.info()), true);
  await r.quit();
}

async function nodeRedis(RESP) {
  const { createClient } = require("redis");
  const r = createClient({ RESP, socket: { port, host: "127.0.0.1" } });
  await r.connect();
  await r.flushAll();
  check("ping", await r.ping(), "PONG");
  check("set", await r.set("k", "v", { EX: 100 }), "OK");
  check("get", await r.get("k"), "v");
  check("missing", await r.get("nokey"), null);
  check("mget", await r.mGet(["k", "nokey"]), ["v", null]);
  check("incr", await r.incrBy("n", 5), 5);
  check("hset", await r.hSet("h", { x: "1", y: "2" }), 2);
  check("hgetall", { ...(await r.hGetAll("h")) }, { x: "1", y: "2" });
  check("expire", await r.expire("h", 100), 1);
  const many = await Promise.all(Array.from({ length: 1000 }, (_, i) => r.set(`scan:${i}`, `${i}`)));
  check("many", many.length, 1000);
  const found = new Set();
  for await (const keys of r.scanIterator({ MATCH: "scan:*", COUNT: 100 })) keys.forEach((k) => found.add(k));
  check("scan", found.size, 1000);
  await assert.rejects(() => r.hGet("n", "x"), /WRONGTYPE/);
  await r.close();
}

(async () => {
  await ioredis();
  await nodeRedis(2);
  await nodeRedis(3);
  console.log(`RESULT clients/node passed=${passed} failed=0 skipped=0`);
  process.exit(0);
})().catch((error) => {
  console.error(`node: ${error.message}`);
  process.exit(1);
});
