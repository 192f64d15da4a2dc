// Sessions of a web server: express-session with connect-redis over node-redis. `node sessions.js PORT`
const http = require("node:http");
const { RedisStore } = require("connect-redis");
const session = require("express-session");
const { createClient } = require("redis");
const { assert, check, eventually, port, run, sleep } = require("./check");

const second = 1000;

// One process of the web site; several share the store.
async function site(client, options = {}) {
  const store = new RedisStore({ client, prefix: "sess:", ...options });
  const middleware = session({
    store,
    secret: "secret",
    resave: false,
    saveUninitialized: false,
    rolling: true,
    cookie: { maxAge: 2 * second },
  });
  const server = http.createServer((request, response) =>
    middleware(request, response, () => {
      if (request.url === "/logout") return request.session.destroy(() => response.end("gone"));
      if (request.url === "/peek") return response.end(`${request.session.visits || 0}`);
      request.session.visits = (request.session.visits || 0) + 1;
      response.end(`${request.session.visits}`);
    }),
  );
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port: at } = server.address();
  let cookie;
  const visit = async (path, jar = {}) => {
    const response = await fetch(`http://127.0.0.1:${at}${path}`, { headers: jar.cookie ? { cookie: jar.cookie } : {} });
    cookie = response.headers.get("set-cookie");
    if (cookie) jar.cookie = cookie.split(";")[0];
    return response.text();
  };
  return { server, store, visit };
}

const called = (store, verb, ...args) =>
  new Promise((done, fail) => store[verb](...args, (error, got) => (error ? fail(error) : done(got))));

run("sessions", async () => {
  for (const RESP of [2, 3]) {
    const client = createClient({ RESP, socket: { port, host: "127.0.0.1" } });
    await client.connect();
    await client.flushAll();
    const one = await site(client);
    const two = await site(client);
    const jar = {};
    check("visits", [await one.visit("/", jar), await two.visit("/", jar), await one.visit("/", jar)], ["1", "2", "3"]);
    check("a stranger", await one.visit("/", {}), "1");
    check("a forged cookie", await one.visit("/peek", { cookie: "connect.sid=s%3Aforged.signature" }), "0");
    check("two sessions", [await called(one.store, "length"), (await called(one.store, "ids")).length], [2, 2]);
    check("their visits", (await called(one.store, "all")).map((s) => s.visits).sort(), [1, 3]);

    // Every request moves the end; without requests it comes, to the stranger's session first.
    for (let i = 0; i < 5; i++) {
      await sleep(600);
      check("still there", await one.visit("/peek", jar), "3");
    }
    await eventually("the stranger's session ran out", async () => (await called(one.store, "length")) === 1, 2 * second);
    const [key] = await client.keys("sess:*");
    const left = await client.pTTL(key);
    assert.ok(left > 0 && left <= 2 * second, `${left} ms are left`);
    check("logged out", [await two.visit("/logout", jar), await client.exists(key)], ["gone", 0]);
    check("a new session", await one.visit("/", jar), "1");

    // 400 visits of 20 people at two processes, each person's one after the other.
    const people = Array.from({ length: 20 }, () => ({}));
    const last = await Promise.all(
      people.map(async (person) => {
        let told;
        for (let i = 0; i < 20; i++) told = await (i % 2 ? one : two).visit("/", person);
        return told;
      }),
    );
    check("everybody's visits", last, people.map(() => "20"));
    await called(one.store, "clear");
    check("cleared", await called(one.store, "length"), 0);
    await eventually("all ran out", async () => (await client.dbSize()) === 0, 5 * second);
    for (const { server } of [one, two]) {
      server.closeAllConnections();
      server.close();
    }
    await client.close();
  }
});
