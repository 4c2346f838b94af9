'use strict';
// The Node client ali-ons as an application uses it: send, consume in both modes, fail until dead letters.
// Usage: node client.js NAMESRV BROKER. Prints a line per check, exits 0 or, when one failed, 3.
// Its limits: it cannot create topics, and all consumers of a process that name the same instance are one client.

const net = require('net');
const { Consumer, Producer, Message } = require('ali-ons');

const [nameSrv, broker] = process.argv.slice(2);
const run = `node-${process.pid}`;
const LONG = 90000;

// ---- clients --------------------------------------------------------------------------------------------------------

const quiet = { info() {}, debug() {}, warn() {}, error() {} };
let instances = 0;

function options(more) {
  // The HTTP client is demanded, and used only where no name server is given.
  return Object.assign({ nameSrv, httpclient: {}, logger: quiet, instanceName: `${run}-${++instances}`, clientIP: '127.0.0.1' }, more);
}

async function newProducer() {
  const producer = new Producer(options({ producerGroup: `producer-${run}-${instances}` }));
  producer.on('error', () => {}); // what matters comes back from send()
  await producer.ready();
  return producer;
}

// A consumer from the first message on; `judge` says what to do with a message.
async function listen(group, topic, tags, inbox, more = {}, judge = () => undefined) {
  const consumer = new Consumer(options(Object.assign(
    { consumerGroup: `${group}-${run}`, consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET' }, more)));
  consumer.on('error', () => {});
  consumer.subscribe(topic, tags, async message => {
    inbox.push(message);
    return judge(message);
  });
  await consumer.ready();
  return consumer;
}

// One request without the client; resolves with the code of the answer.
function request(address, code, extFields) {
  const header = Buffer.from(JSON.stringify({ code, flag: 0, language: 'JAVA', opaque: 1, version: 401, extFields }));
  const frame = Buffer.alloc(8);
  frame.writeInt32BE(4 + header.length, 0);
  frame.writeInt32BE(header.length, 4);
  const [host, port] = address.split(':');
  return new Promise((resolve, reject) => {
    let answer = Buffer.alloc(0);
    const socket = net.connect(port, host, () => socket.write(Buffer.concat([frame, header])));
    socket.setTimeout(10000, () => socket.destroy(new Error('no answer')));
    socket.on('data', data => {
      answer = Buffer.concat([answer, data]);
      if (answer.length >= 8 && answer.length >= 8 + (answer.readInt32BE(4) & 0xffffff)) {
        socket.destroy();
        resolve(JSON.parse(answer.subarray(8, 8 + (answer.readInt32BE(4) & 0xffffff))).code);
      }
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`${address} closed the connection on request ${code}`)));
  });
}

async function newTopic(name) {
  const topic = `${name}-${run}`;
  equal('answer to creating a topic', 0, await request(broker, 17, {
    topic, defaultTopic: 'TBW102', readQueueNums: '4', writeQueueNums: '4', perm: '6', topicFilterType: 'SINGLE_TAG', order: 'false',
  }));
  return topic;
}

// ---- conditions -----------------------------------------------------------------------------------------------------

async function until(what, holds) {
  for (const deadline = Date.now() + LONG; Date.now() < deadline;) {
    if (await holds()) return;
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  throw new Error(`not within ${LONG / 1000} s: ${what}`);
}

function equal(what, expected, actual) {
  if (JSON.stringify(expected) !== JSON.stringify(actual)) {
    throw new Error(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }
}

const numbered = (prefix, count) => Array.from({ length: count }, (_, n) => `${prefix}${n}`);
const bodies = inbox => inbox.map(message => message.body.toString());

// Each of these bodies once, in any order, and no other.
async function awaitExactly(inbox, expected) {
  await until(`${expected.length} messages`, () => inbox.length >= expected.length);
  equal('received', [...expected].sort(), bodies(inbox).sort());
}

// A new topic's route reaches the name server a moment after the broker's answer: the first send waits for it.
async function sendAll(producer, topic, list, tag = '') {
  for (const body of list) {
    let result;
    await until(`route of ${topic}`, async () => {
      try {
        result = await producer.send(new Message(topic, tag, body));
        return true;
      } catch (err) {
        if (/route|exist/i.test(`${err.name} ${err.message}`)) return false;
        throw err;
      }
    });
    equal('send status', 'SEND_OK', result.sendStatus);
  }
}

// ---- checks ---------------------------------------------------------------------------------------------------------

const checks = {
  async send() {
    const topic = await newTopic('send');
    const producer = await newProducer();
    const list = [...numbered('s', 20), 'large '.repeat(20000)];
    await sendAll(producer, topic, list);
    const message = new Message(topic, 'T', 'with properties');
    message.keys = ['k1', 'k2'];
    message.properties.colour = 'grün';
    await producer.send(message);
    const inbox = [];
    const consumer = await listen('send', topic, '*', inbox);
    await awaitExactly(inbox, [...list, 'with properties']);
    const last = inbox.find(each => each.body.toString() === 'with properties');
    equal('tag, keys, property', ['T', 'k1 k2', 'grün'], [last.tags, last.keys, last.properties.colour]);
    await consumer.close();
    await producer.close();
  },

  // This client ignores the broker's word that members changed: it looks every 10 s.
  async 'cluster-shares'() {
    const topic = await newTopic('cluster');
    const producer = await newProducer();
    const one = [];
    const two = [];
    await sendAll(producer, topic, ['first']);
    const consumers = [await listen('cluster', topic, '*', one), await listen('cluster', topic, '*', two)];
    for (let round = 0; ; round++) {
      const before = [one.length, two.length];
      const list = numbered(`round${round}-`, 8);
      await sendAll(producer, topic, list);
      await until('all of a round', () => list.every(body => bodies([...one, ...two]).includes(body)));
      if (one.length - before[0] === 4 && two.length - before[1] === 4) break;
      if (round === 90) throw new Error('the queues are never shared equally');
      await new Promise(resolve => setTimeout(resolve, 500));
    }
    for (const consumer of consumers) await consumer.close();
    await producer.close();
  },

  async broadcast() {
    const topic = await newTopic('broadcast');
    const producer = await newProducer();
    const list = numbered('b', 20);
    await sendAll(producer, topic, list);
    const inboxes = [[], []];
    const consumers = [];
    for (const inbox of inboxes) consumers.push(await listen('broadcast', topic, '*', inbox, { isBroadcast: true }));
    for (const inbox of inboxes) await awaitExactly(inbox, list);
    for (const consumer of consumers) await consumer.close();
    await producer.close();
  },

  async tags() {
    const topic = await newTopic('tags');
    const producer = await newProducer();
    for (const tag of ['red', 'green', 'blue', 'redder']) await sendAll(producer, topic, [tag], tag);
    const inbox = [];
    const consumer = await listen('tags', topic, 'red || blue', inbox);
    await awaitExactly(inbox, ['red', 'blue']);
    await consumer.close();
    await producer.close();
  },

  async 'retry-until-dead-letter'() {
    const topic = await newTopic('retry');
    const producer = await newProducer();
    await sendAll(producer, topic, ['bad', 'good']);
    const inbox = [];
    const consumer = await listen('retry', topic, '*', inbox, { maxReconsumeTimes: 1 },
      message => {
        // Not ACTION_RETRY: the client loses that answer to a message that comes again.
        if (message.body.toString() === 'bad') throw new Error('bad');
      });
    const dead = `%DLQ%retry-${run}`;
    await until('the topic of dead letters', async () => await request(nameSrv, 105, { topic: dead }) === 0);
    const letters = [];
    const undertaker = await listen('dead', dead, '*', letters);
    await awaitExactly(letters, ['bad']);
    equal('deliveries', ['bad', 'bad', 'good'], bodies(inbox).sort());
    await undertaker.close();
    await consumer.close();
    await producer.close();
  },
};

(async () => {
  let failed = false;
  await Promise.all(Object.entries(checks).map(async ([name, check]) => {
    const started = Date.now();
    try {
      await check();
      console.log(`pass node-${name} ${((Date.now() - started) / 1000).toFixed(1)}s`);
    } catch (err) {
      failed = true;
      console.log(`FAIL node-${name}: ${String(err.stack || err).replace(/\s+/g, ' ').slice(0, 500)}`);
    }
  }));
  process.exit(failed ? 3 : 0);
})();
