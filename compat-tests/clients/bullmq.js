// BullMQ: a queue of jobs made of Lua scripts, streams, sorted sets and blocking pops. `node bullmq.js PORT`
// `node bullmq.js PORT die` is the worker that takes a job and never comes back.
const { spawn } = require("node:child_process");
const Redis = require("ioredis");
const { FlowProducer, Queue, QueueEvents, UnrecoverableError, Worker } = require("bullmq");
const { assert, check, eventually, port, run, sleep } = require("./check");

const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const closing = [];

function queue(name) {
  const made = new Queue(name, { connection });
  made.setMaxListeners(0);
  closing.push(made);
  return made;
}

async function events(name) {
  const made = new QueueEvents(name, { connection });
  closing.unshift(made);
  await made.waitUntilReady();
  return made;
}

async function worker(name, work, options = {}) {
  const made = new Worker(name, work, { connection, drainDelay: 1, ...options });
  made.on("error", (error) => console.error(`bullmq: ${error.message}`));
  closing.unshift(made);
  await made.waitUntilReady();
  return made;
}

async function results() {
  const q = queue("results");
  const told = await events("results");
  await worker("results", async (job) => job.data.a + job.data.b, { concurrency: 5 });
  const job = await q.add("add", { a: 2, b: 3 });
  check("a result", await job.waitUntilFinished(told, 10000), 5);
  const jobs = await q.addBulk(Array.from({ length: 200 }, (_, i) => ({ name: "add", data: { a: i, b: i } })));
  const sums = await Promise.all(jobs.map((j) => j.waitUntilFinished(told, 20000)));
  check("200 results", sums, Array.from({ length: 200 }, (_, i) => 2 * i));
  check("counts", await q.getJobCounts("completed", "waiting", "active"), { active: 0, completed: 201, waiting: 0 });
  const same = await Promise.all([q.add("add", { a: 1, b: 1 }, { jobId: "one" }), q.add("add", { a: 9, b: 9 }, { jobId: "one" })]);
  check("one id, one job", await same[1].waitUntilFinished(told, 10000), 2);
}

async function delays() {
  const q = queue("delays");
  const ran = [];
  await worker("delays", async (job) => ran.push([job.name, Date.now()]));
  const from = Date.now();
  await q.add("late", {}, { delay: 600 });
  await q.add("soon", {}, { delay: 200 });
  await q.add("now", {});
  await eventually("delayed jobs", () => ran.length === 3);
  check("in order of time", ran.map((r) => r[0]), ["now", "soon", "late"]);
  assert.ok(ran[1][1] - from >= 200 && ran[2][1] - from >= 600, `too early: ${ran[1][1] - from}, ${ran[2][1] - from} ms`);
}

async function priorities() {
  const q = queue("priorities");
  await q.pause();
  for (const [name, priority] of [["low", 10], ["high", 1], ["middle", 5], ["low too", 10]]) await q.add(name, {}, { priority });
  await q.add("none", {});
  check("prioritized", await q.getJobCountByTypes("prioritized"), 4);
  const ran = [];
  await worker("priorities", async (job) => ran.push(job.name));
  await sleep(50);
  check("paused", ran, []);
  await q.resume();
  await eventually("all of them", () => ran.length === 5);
  check("in order of priority", ran, ["none", "high", "middle", "low", "low too"]);
}

async function retries() {
  const q = queue("retries");
  const tries = {};
  await worker("retries", async (job) => {
    tries[job.name] = (tries[job.name] || 0) + 1;
    if (job.name === "never") throw new UnrecoverableError("not again");
    if (job.name === "always" || tries[job.name] < 3) throw new Error(`attempt ${job.attemptsMade + 1}`);
    return "at last";
  });
  const third = await q.add("third", {}, { attempts: 5, backoff: { type: "exponential", delay: 50 } });
  const always = await q.add("always", {}, { attempts: 2, backoff: 20 });
  const never = await q.add("never", {}, { attempts: 5 });
  await eventually("the third attempt", async () => (await third.getState()) === "completed");
  await eventually("failure", async () => (await q.getFailedCount()) === 2);
  check("attempts", tries, { always: 2, never: 1, third: 3 });
  check("the reason", (await q.getJob(always.id)).failedReason, "attempt 2");
  await (await q.getJob(never.id)).retry();
  await eventually("tried by hand", () => tries.never === 2);
  await eventually("failed again", async () => (await never.getState()) === "failed");
}

const impatient = { lockDuration: 600, stalledInterval: 300 };

// The worker is killed while it holds a job: its lock runs out, and another worker finds the job stalled.
async function stalled() {
  const q = queue("stalled");
  const job = await q.add("hold", { n: 7 });
  const child = spawn(process.execPath, [__filename, `${port}`, "die"], { stdio: ["pipe", "pipe", "inherit"] });
  await new Promise((done) => child.stdout.once("data", done));
  check("taken", await job.getState(), "active");
  child.kill("SIGKILL");
  const seen = [];
  const second = await worker("stalled", async (j) => j.data.n * 6, impatient);
  second.on("stalled", (id) => seen.push(id));
  await eventually("picked up", async () => (await job.getState()) === "completed", 20000);
  check("stalled", seen, [job.id]);
  check("its result", (await q.getJob(job.id)).returnvalue, 42);
}

async function schedules() {
  const q = queue("schedules");
  const ran = [];
  await worker("schedules", async (job) => ran.push(job.name));
  await q.upsertJobScheduler("beat", { every: 100, limit: 4 }, { name: "beat" });
  await q.upsertJobScheduler("yearly", { pattern: "0 0 1 1 *" }, { name: "yearly" });
  check("schedulers", (await q.getJobSchedulers()).map((s) => s.key).sort(), ["beat", "yearly"]);
  await eventually("repeated", () => ran.length >= 4);
  await sleep(250);
  check("four times", ran, ["beat", "beat", "beat", "beat"]);
  check("removed", await q.removeJobScheduler("yearly"), true);
  check("nothing is planned", await q.getDelayedCount(), 0);
}

async function flows() {
  const parents = queue("parents");
  queue("children");
  const flow = new FlowProducer({ connection });
  closing.push(flow);
  await worker("children", async (job) => job.data.n * job.data.n, { concurrency: 4 });
  await worker("parents", async (job) => {
    const values = await job.getChildrenValues();
    return Object.values(values).reduce((a, b) => a + b, 0);
  });
  const tree = await flow.add({
    name: "sum",
    queueName: "parents",
    children: [1, 2, 3, 4].map((n) => ({ name: "square", queueName: "children", data: { n } })),
  });
  await eventually("the parent", async () => (await tree.job.getState()) === "completed");
  check("the sum of squares", (await parents.getJob(tree.job.id)).returnvalue, 30);
}

async function limits() {
  const q = queue("limits");
  const ran = [];
  await q.addBulk(Array.from({ length: 9 }, (_, i) => ({ name: `${i}`, data: {} })));
  await worker("limits", async () => ran.push(Date.now()), { limiter: { max: 3, duration: 500 }, concurrency: 10 });
  await eventually("all of them", () => ran.length === 9);
  // Three windows; the first may be all but over when the first job is told of.
  assert.ok(ran[8] - ran[0] >= 500, `nine jobs at three in 500 ms took ${ran[8] - ran[0]} ms`);
  check("nothing waits", await q.getWaitingCount(), 0);
  await q.add("old", {}, { removeOnComplete: true });
  await eventually("removed", async () => (await q.getJobCounts("waiting", "active", "delayed", "completed")).completed === 9);
  check("cleaned", (await q.clean(0, 100, "completed")).length, 9);
  await q.obliterate();
  const r = new Redis(connection);
  const left = await r.keys("bull:limits:*");
  check("nothing is left", left.filter((key) => !/:(limiter|stalled-check)$/.test(key)), []);
  await r.quit();
}

async function die() {
  process.stdin.resume().on("end", () => process.exit(0)); // not to outlive a parent that failed
  await worker("stalled", () => new Promise(() => console.log("mine")), impatient);
}

if (process.argv[3] === "die") die();
else
  run("bullmq", async () => {
    const r = new Redis(connection);
    await r.flushall();
    await r.quit();
    await Promise.all([results, delays, priorities, retries, stalled, schedules, flows, limits].map((part) => part()));
    for (const open of closing) await open.close();
  });
