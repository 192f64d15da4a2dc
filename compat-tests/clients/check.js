// What every program here shares: counted checks, waiting for something to come true, and the line of the result.
const assert = require("node:assert");

const port = Number(process.argv[2]);
let passed = 0;

function check(what, got, want) {
  assert.deepStrictEqual(got, want, what);
  passed += 1;
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Waits until `condition` gives something true, and gives that; fails after `ms` milliseconds.
async function eventually(what, condition, ms = 15000) {
  const end = Date.now() + ms;
  for (;;) {
    const got = await condition();
    if (got) {
      passed += 1;
      return got;
    }
    assert.ok(Date.now() < end, `${what}: not within ${ms} ms`);
    await sleep(10);
  }
}

async function rejects(what, attempt, pattern) {
  await assert.rejects(attempt, pattern, what);
  passed += 1;
}

function run(name, program) {
  program().then(
    () => {
      console.log(`RESULT clients/${name} passed=${passed} failed=0 skipped=0`);
      process.exit(0);
    },
    (error) => {
      console.error(`${name}: ${error.stack || error.message}`);
      process.exit(1);
    },
  );
}

module.exports = { assert, check, eventually, port, rejects, run, sleep };
