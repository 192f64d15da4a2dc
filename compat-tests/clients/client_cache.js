// Client-side caches: node-redis's own, and a raw RESP3 connection that notes every invalidation.
// `node client_cache.js PORT`
//
// The raw part shows the promise exactly: once the writer has its OK, whatever the reader is answered next on
// its own connection comes after the invalidation. A cache that asks nobody learns of it a moment later.
const net = require("node:net");
const { createClient } = require("redis");
const { BasicClientSideCache } = require("@redis/client");
const { assert, check, eventually, port, run } = require("./check");

// Just enough RESP3 to see replies and pushes in the order in which they come.
class Raw {
  constructor() {
    this.bytes = Buffer.alloc(0);
    this.waiting = [];
    this.pushes = [];
    this.socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.on("data", (more) => {
      this.bytes = Buffer.concat([this.bytes, more]);
      for (let got; (got = this.parse(0)); ) {
        this.bytes = this.bytes.subarray(got[1]);
        if (got[2]) this.pushed(got[0]);
        else this.waiting.shift()(got[0]);
      }
    });
  }

  pushed(push) {
    if (push[0] === "invalidate") this.onInvalidate?.(push[1]);
    this.pushes.push(push);
  }

  // [value, where it ends, is it a push], or nothing if it is not all there yet.
  parse(at) {
    const end = this.bytes.indexOf("\r\n", at);
    if (end < 0) return undefined;
    const kind = String.fromCharCode(this.bytes[at]);
    const line = this.bytes.toString("utf8", at + 1, end);
    let next = end + 2;
    if (kind === "$") {
      if (this.bytes.length < next + Number(line) + 2) return undefined;
      return [this.bytes.toString("utf8", next, next + Number(line)), next + Number(line) + 2];
    }
    if ("*>~%".includes(kind)) {
      const items = [];
      for (let left = Number(line) * (kind === "%" ? 2 : 1); left > 0; left--) {
        const item = this.parse(next);
        if (!item) return undefined;
        items.push(item[0]);
        next = item[1];
      }
      return [items, next, kind === ">"];
    }
    return [kind === ":" ? Number(line) : kind === "_" ? null : kind === "-" ? new Error(line) : line, next];
  }

  send(...words) {
    this.socket.write(`*${words.length}\r\n${words.map((w) => `$${Buffer.byteLength(`${w}`)}\r\n${w}\r\n`).join("")}`);
    return new Promise((done) => this.waiting.push(done));
  }
}

async function neverStale() {
  const reader = new Raw();
  const writer = new Raw();
  await reader.send("HELLO", 3);
  await writer.send("HELLO", 3);
  check("tracking", await reader.send("CLIENT", "TRACKING", "ON"), "OK");
  const kept = new Map();
  reader.onInvalidate = (keys) => (keys === null ? kept.clear() : keys.forEach((k) => kept.delete(k)));
  const stale = [];
  let hits = 0;
  for (let i = 0; i < 3000; i++) {
    const key = `key:${i % 7}`;
    for (let j = 0; j < 2; j++) {
      if (kept.has(key)) hits += 1;
      else kept.set(key, await reader.send("GET", key));
    }
    assert.strictEqual(await writer.send("SET", key, i), "OK");
    await reader.send("PING");
    if (kept.has(key)) stale.push(i);
  }
  check("nothing stale", stale, []);
  assert.ok(hits >= 3000, `only ${hits} hits`);

  // Written by a script, a transaction, an expiry, FLUSHALL: whatever changes a key says so.
  const changes = {
    script: () => writer.send("EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "watched"),
    transaction: async () => {
      for (const words of [["MULTI"], ["DEL", "watched"], ["SET", "watched", 2], ["EXEC"]]) await writer.send(...words);
    },
    rename: async () => {
      await writer.send("SET", "other", 3);
      await writer.send("RENAME", "other", "watched");
    },
    expiry: () => writer.send("PEXPIRE", "watched", 1),
    "its death": () => 0,
    "its birth": () => writer.send("SET", "watched", 4),
    flushall: () => writer.send("FLUSHALL"),
  };
  for (const [what, change] of Object.entries(changes)) {
    kept.set("watched", await reader.send("GET", "watched"));
    await change();
    if (what === "its death") continue;
    await eventually(`an invalidation by ${what}`, () => !kept.has("watched"), 5000);
  }
  reader.socket.destroy();
  writer.socket.destroy();
}

async function broadcasting() {
  const reader = new Raw();
  const writer = new Raw();
  await reader.send("HELLO", 3);
  await reader.send("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:", "NOLOOP");
  await writer.send("SET", "user:1", "a");
  await writer.send("SET", "other:1", "a");
  await reader.send("SET", "user:2", "mine");
  await reader.send("PING");
  await eventually("a broadcast", () => reader.pushes.length > 0);
  check("only the prefix, and not one's own", reader.pushes, [["invalidate", ["user:1"]]]);
  reader.socket.destroy();
  writer.socket.destroy();
}

async function nodeRedisCache() {
  const clientSideCache = new BasicClientSideCache({ ttl: 0, maxEntries: 1000, evictPolicy: "LRU" });
  const reader = createClient({ RESP: 3, clientSideCache, socket: { port, host: "127.0.0.1" } });
  const writer = createClient({ RESP: 3, socket: { port, host: "127.0.0.1" } });
  await Promise.all([reader.connect(), writer.connect()]);
  await writer.set("k", "0");
  check("read", [await reader.get("k"), await reader.get("k")], ["0", "0"]);
  check("a hit and a miss", [clientSideCache.stats().hitCount, clientSideCache.stats().missCount], [1, 1]);
  for (let i = 1; i <= 300; i++) {
    await writer.set("k", `${i}`);
    await reader.ping();
    assert.strictEqual(await reader.get("k"), `${i}`);
  }
  check("the last value", await reader.get("k"), "300");
  await writer.hSet("h", "f", "1");
  check("a hash", [await reader.hGet("h", "f"), await reader.hGet("h", "f")], ["1", "1"]);
  await writer.hSet("h", "f", "2");
  await eventually("the new field", async () => (await reader.hGet("h", "f")) === "2", 2000);
  await reader.close();
  await writer.close();
}

run("client-cache", async () => {
  await neverStale();
  await broadcasting();
  await nodeRedisCache();
});
