/**
 * What happened while the Node runtime waited for a request comes before the handler of that request, as in Lambda: ends of
 * connections, of children, timers that came due.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { after, before, describe, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FrameType } from '../../src/protocol/guest.ts';
import { buildNodeRuntime, GuestProcess, runningGuests } from '../support/guest-process.ts';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

/** Longer than anything takes that the function has begun, in ms. */
const IDLE_MS = 150;

async function withFunction(source: string, use: (guest: GuestProcess) => Promise<void>): Promise<void> {
  const guest = await GuestProcess.start('node', { 'workload.js': source });
  try {
    const loaded = await guest.load();
    assert.equal(loaded.type, FrameType.loaded, loaded.payload.toString());
    await use(guest);
  } finally {
    await guest.stop();
  }
}

async function result(guest: GuestProcess, event: unknown = null): Promise<unknown> {
  const reply = await guest.invoke(JSON.stringify(event));
  assert.equal(reply.type, FrameType.result, reply.payload.toString());
  return JSON.parse(reply.payload.toString()) as unknown;
}

/** Each begins something in its first invocation, and tells in the second what has come of it. */
const OCCASIONS = [
  ['a timer that came due', 'setTimeout(() => seen.push("timer"), 50);', ['timer']],
  ['a timer that keeps nothing alive', 'setTimeout(() => seen.push("timer"), 50).unref();', ['timer']],
  ['an interval', 'const t = setInterval(() => { seen.push("tick"); clearInterval(t); }, 50);', ['tick']],
  [
    'a promise of a timer',
    'require("node:timers/promises").setTimeout(50, null, { ref: false }).then(() => seen.push("late"));',
    ['late'],
  ],
  [
    'a signal that times out',
    'AbortSignal.timeout(50).addEventListener("abort", () => seen.push("abort"));',
    ['abort'],
  ],
  [
    'a child that ended',
    `const child = require('node:child_process').spawn(process.execPath, ['-e', ''], { stdio: 'ignore' });
     child.on('exit', () => seen.push('exit')).on('close', () => seen.push('close')); child.unref();`,
    ['exit', 'close'],
  ],
  [
    'what a child printed, and its end',
    `const child = require('node:child_process').spawn('echo', ['text']);
     child.stdout.on('data', (chunk) => seen.push(String(chunk))).on('end', () => seen.push('end'));
     child.on('close', () => seen.push('close')); child.unref(); child.stdout.unref();`,
    ['text\n', 'end', 'close'],
  ],
  [
    'a message of a worker',
    `const { Worker } = require('node:worker_threads');
     const worker = new Worker("setTimeout(() => require('node:worker_threads').parentPort.postMessage('done'), 20); setTimeout(() => {}, 5000)", { eval: true });
     worker.on('message', (message) => seen.push(message)); worker.unref();`,
    ['done'],
  ],
  ['a file that was looked at', 'require("node:fs").stat(__filename, () => seen.push("stat"));', ['stat']],
] as const;

suite('node runtime: events of the idle time come before the handler', () => {
  for (const [what, begin, expected] of OCCASIONS) {
    test(what, () =>
      withFunction(
        `const seen = [];
exports.handle = (event) => { if (event === 'begin') { ${begin} } return seen; };`,
        async (guest) => {
          await result(guest, 'begin');
          // A worker's thread needs longer to start on a busy host.
          await sleep(what.includes('worker') || what.includes('child') ? 10 * IDLE_MS : IDLE_MS);
          assert.deepEqual(await result(guest), expected);
        },
      ),
    );
  }

  const LOG = `const seen = [];
const { connect } = require('node:net');
let socket;
exports.handle = async (port) => {
  if (typeof port === 'number') {
    socket = connect(port, '127.0.0.1');
    for (const event of ['end', 'close', 'error']) socket.on(event, () => seen.push(event));
    socket.on('data', (chunk) => seen.push(String(chunk)));
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.unref();
  }
  return [...seen, socket.destroyed ? 'destroyed' : 'open'];
};`;

  for (const [what, act, expected] of [
    ['data', (peer: Socket) => peer.write('text'), ['text', 'open']],
    ['data and the end', (peer: Socket) => peer.end('text'), ['text', 'end', 'close', 'destroyed']],
    ['the end', (peer: Socket) => peer.end(), ['end', 'close', 'destroyed']],
    ['a reset', (peer: Socket) => peer.resetAndDestroy(), ['error', 'close', 'destroyed']],
    ['nothing', () => undefined, ['open']],
  ] as const) {
    test(`${what} of a peer`, async () => {
      const server = createServer({ allowHalfOpen: true }, (peer) => peer.on('error', () => undefined)).listen(
        0,
        '127.0.0.1',
      );
      await once(server, 'listening');
      const peers: Socket[] = [];
      server.on('connection', (peer) => peers.push(peer));
      try {
        await withFunction(LOG, async (guest) => {
          assert.deepEqual(await result(guest, (server.address() as { port: number }).port), ['open']);
          const [peer] = peers;
          assert.ok(peer);
          act(peer);
          await sleep(IDLE_MS);
          assert.deepEqual(await result(guest), expected);
        });
      } finally {
        for (const peer of peers) peer.destroy();
        server.close();
      }
    });
  }

  for (const [client, request] of [
    [
      'an agent that keeps connections',
      `const http = require('node:http'), agent = new http.Agent({ keepAlive: true });
const ask = (port) => new Promise((resolve) => http.request({ port, agent, method: 'POST' }, (answer) => answer.resume().on('end', () => resolve('answer'))).on('error', (error) => resolve(error.code)).end('{}'));`,
    ],
    [
      'fetch',
      "const ask = (port) => fetch('http://127.0.0.1:' + port, { method: 'POST', body: '{}' }).then((a) => a.text(), (error) => error.cause?.code);",
    ],
  ] as const) {
    test(`${client} uses no connection that its peer has closed`, async () => {
      const server = createServer((peer) => {
        peer.on('error', () => undefined);
        // Closed while the function's runtime waits, unannounced.
        peer.on('data', () => {
          peer.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\nanswer');
          setTimeout(() => peer.end(), 30);
        });
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      try {
        await withFunction(`${request}\nexports.handle = ask;`, async (guest) => {
          for (let round = 0; round < 6; round += 1) {
            assert.equal(await result(guest, (server.address() as { port: number }).port), 'answer');
            await sleep(IDLE_MS);
          }
        });
      } finally {
        server.close();
      }
    });
  }

  describe('an error that nobody catches ends the process before the handler has begun, and init can tell', () => {
    const fails = async (output: 'pipes' | 'frames', use: (guest: GuestProcess) => Promise<void>): Promise<void> => {
      const guest = await GuestProcess.start('node', {
        'workload.js': `exports.handle = () => { setTimeout(() => { throw new Error('left behind'); }, 50); return 1; };`,
      });
      await guest.load({ output });
      assert.equal(await result(guest), 1);
      await sleep(IDLE_MS);
      guest.send('null');
      await use(guest);
      assert.deepEqual(await guest.remove(), { status: 1, signal: null });
    };

    test('in a VM by a DRAINED that was not read', () =>
      fails('pipes', async (guest) => {
        await assert.rejects(guest.nextControlFrame());
        assert.equal(guest.controlError, 'ECONNRESET');
      }));

    test('on the host by the runtime’s word', () =>
      fails('frames', async (guest) => {
        const { type, header } = await guest.nextControlFrame();
        assert.deepEqual([type, header], [FrameType.ending, { begun: 1 }]);
      }));
  });

  test('a function that has none of these pays for none: the runtime loads nothing that may have handles', () =>
    withFunction(
      `exports.handle = () => [
  process.moduleLoadList.filter((name) => /NativeModule (net|dgram|child_process|timers\\/promises)$/.test(name)),
  process.getActiveResourcesInfo(),
];`,
      async (guest) => {
        for (let round = 0; round < 2; round += 1) assert.deepEqual(await result(guest), [[], []]);
      },
    ));

  test('an endless stream of events does not keep the handler waiting', () =>
    withFunction(
      `
const { connect, createServer } = require('node:net');
exports.handle = (event) => new Promise((resolve) => {
  if (event !== 'begin') return resolve('begun');
  const server = createServer((peer) => { peer.on('error', () => {}); const more = () => { peer.write('x'); setImmediate(more); }; more(); });
  server.listen(0, '127.0.0.1', () => { connect(server.address().port, '127.0.0.1').on('data', () => {}); resolve('flooded'); });
});`,
      async (guest) => {
        assert.equal(await result(guest, 'begin'), 'flooded');
        await sleep(IDLE_MS);
        assert.equal(await result(guest), 'begun');
      },
    ));
});
