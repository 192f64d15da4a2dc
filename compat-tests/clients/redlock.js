// redlock over ioredis: only one holds the lock, and a dead holder's lock runs out. `node redlock.js PORT`
// `node redlock.js PORT die` takes the lock and never gives it back.
const { spawn } = require("node:child_process");
const Redis = require("ioredis");
const { default: Redlock, ResourceLockedError } = require("redlock");
const { assert, check, port, rejects, run, sleep } = require("./check");

const connect = () => new Redis({ port, host: "127.0.0.1" });
const locker = (client, settings = {}) => {
  const made = new Redlock([client], { retryCount: -1, retryDelay: 5, retryJitter: 5, ...settings });
  made.on("error", (error) => {
    if (!(error instanceof ResourceLockedError)) throw error;
  });
  return made;
};

// A counter that is read and written in two steps loses increments unless the lock excludes the others.
async function exclusion() {
  const clients = Array.from({ length: 8 }, connect);
  let inside = 0;
  let most = 0;
  await Promise.all(
    clients.map(async (client) => {
      const redlock = locker(client);
      for (let i = 0; i < 25; i++) {
        const lock = await redlock.acquire(["lock:counter"], 10000);
        most = Math.max(most, ++inside);
        const was = Number(await client.get("counter"));
        await client.set("counter", was + 1);
        inside -= 1;
        await lock.release();
      }
    }),
  );
  check("one at a time", most, 1);
  check("no increment is lost", await clients[0].get("counter"), "200");
  await Promise.all(clients.map((client) => client.quit()));
}

async function holders(r) {
  const redlock = locker(r);
  const impatient = locker(r, { retryCount: 0 });
  const lock = await redlock.acquire(["a", "b"], 5000);
  await rejects("taken", () => impatient.acquire(["b", "c"], 1000), /unable to achieve a quorum/);
  check("c is free", await r.exists("c"), 0);
  const longer = await lock.extend(8000);
  assert.ok((await r.pttl("a")) > 5000, "extended");
  await longer.release();
  check("released", await r.exists("a", "b"), 0);

  const short = await redlock.acquire(["short"], 50);
  await sleep(80);
  const next = await redlock.acquire(["short"], 5000);
  await rejects("run out", () => short.extend(1000), /./);
  check("the next one's", await r.get("short"), next.value);
  await next.release();

  let ran = 0;
  await redlock.using(["long"], 300, { automaticExtensionThreshold: 200 }, async (signal) => {
    await sleep(700);
    assert.ok(!signal.aborted, "extended in time");
    ran = await r.exists("long");
  });
  check("held all the time", [ran, await r.exists("long")], [1, 0]);
}

async function death(r) {
  const child = spawn(process.execPath, [__filename, `${port}`, "die"], { stdio: ["pipe", "pipe", "inherit"] });
  await new Promise((done) => child.stdout.once("data", done));
  child.kill("SIGKILL");
  const left = await r.pttl("lock:dead");
  assert.ok(left > 0 && left <= 1000, `${left} ms are left`);
  const from = Date.now();
  const lock = await locker(r).acquire(["lock:dead"], 1000);
  const waited = Date.now() - from;
  assert.ok(waited >= left - 50 && waited < left + 1000, `waited ${waited} ms for ${left}`);
  check("mine now", await r.get("lock:dead"), lock.value);
  await lock.release();
}

if (process.argv[3] === "die") {
  process.stdin.resume().on("end", () => process.exit(0)); // not to outlive a parent that failed
  locker(connect())
    .acquire(["lock:dead"], 1000)
    .then(() => console.log("held"));
} else
  run("redlock", async () => {
    const r = connect();
    await r.flushall();
    await Promise.all([exclusion(), holders(r), death(connect())]);
    await r.quit();
  });
