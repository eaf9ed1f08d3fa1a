// node-redis 4. It knows no sentinels: the program asks them itself. The contract is in test_others.py.
const { existsSync } = require("fs");
const assert = require("assert");
const { createClient } = require("redis");

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// A promise that no connection answers any more is given up after two seconds.
const within = (promise, ms) => Promise.race([promise, pause(ms).then(() => Promise.reject(new Error("no answer")))]);

// Whether the other side is still there is not waited for.
const close = (client) => client.disconnect().catch(() => {});

async function dial(address) {
  const [host, port] = address.split(":");
  const client = createClient({ socket: { host, port: +port, connectTimeout: 1000, reconnectStrategy: () => new Error("it is closed") }, disableOfflineQueue: true });
  client.on("error", () => {});
  await within(client.connect(), 2000);
  return client;
}

async function toMaster() {
  for (let attempt = 0; attempt < 600; attempt++) {
    for (const address of process.env.SENTINELS.split(" ")) {
      try {
        const sentinel = await dial(address);
        const told = await within(sentinel.sendCommand(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", process.env.SERVICE]), 2000);
        close(sentinel);
        if (told) return await dial(told.join(":"));
      } catch {}
    }
    await pause(50);
  }
  throw new Error("no master within 30 s");
}

async function basics() {
  const client = await toMaster();
  await client.set("node-redis:a", "x\0y");
  assert.strictEqual(await client.get("node-redis:a"), "x\0y");
  await client.del(["node-redis:n", "node-redis:m", "node-redis:s"]);
  const numbers = await Promise.all(Array.from({ length: 1000 }, () => client.incr("node-redis:n")));
  assert.deepStrictEqual(numbers, Array.from({ length: 1000 }, (_, i) => i + 1));
  const got = await client.multi().incrBy("node-redis:m", 5).hSet("node-redis:h", { a: 1, b: 2 }).hGetAll("node-redis:h").exec();
  assert.strictEqual(got[0], 5);
  assert.deepStrictEqual({ ...got[2] }, { a: "1", b: "2" });
  assert.strictEqual(await client.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", { keys: ["node-redis:m"], arguments: ["7"] }), 12);
  const id = await client.xAdd("node-redis:s", "*", { field: "value" });
  assert.strictEqual((await client.xRange("node-redis:s", "-", "+"))[0].id, id);
  const listener = client.duplicate();
  listener.on("error", () => {});
  await listener.connect();
  let hear;
  const heard = new Promise((done) => (hear = done));
  await listener.subscribe("node-redis:news", hear);
  assert.strictEqual(await client.publish("node-redis:news", "hello"), 1);
  assert.strictEqual(await heard, "hello");
  await listener.disconnect();
  await client.disconnect();
  console.log("basics hold");
}

async function load() {
  let client = await toMaster();
  let [confirmed, reconnects, lost] = [0, 0, 0];
  while (!existsSync(process.env.STOP)) {
    try {
      await within(client.set(`node-redis:load:${confirmed}`, confirmed.toString()), 2000);
      if (++confirmed % 50 === 0) console.log(`at ${confirmed}`);
      await pause(1);
    } catch {
      close(client);
      client = await toMaster();
      reconnects++;
    }
  }
  for (let i = 0; i < confirmed; i++) lost += (await client.get(`node-redis:load:${i}`)) !== i.toString();
  console.log(`confirmed ${confirmed} lost ${lost} reconnects ${reconnects}`);
}

basics()
  .then(load)
  .then(() => process.exit(0))
  .catch((error) => {
    console.error("failed:", error);
    process.exit(1);
  });
