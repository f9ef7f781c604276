import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HttpGateway } from '../../../src/controller/gateway/http.ts';
import type { Task } from '../../../src/controller/task.ts';
import { until } from '../../end-to-end/processes.ts';
import { echo, errorOf, Held, MIB, post, RawClient, withGateway } from './http-client.ts';

function numbered(n: number): Buffer {
  return post(`{"function":"echo","payload":${n}}`);
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return signal.aborted ? Promise.resolve() : once(signal, 'abort');
}

test('http: one connection serves many requests', async () => {
  await withGateway({}, async (_gateway, port) => {
    const client = await RawClient.open(port);
    for (let n = 0; n < 100; n += 1) assert.equal((await client.send(numbered(n)).response()).body, String(n));
    client.socket.destroy();
  });
});

/** A client that opens connections all at once, says how many came about within 3 s, and closes them. */
const BURST = `
  const net = require('node:net');
  const [, port, count] = process.argv;
  let connected = 0;
  const end = () => { console.log(connected); process.exit(); };
  for (let i = 0; i < count; i += 1) {
    net.connect(port, '127.0.0.1', () => (connected += 1) == count && end()).on('error', () => undefined);
  }
  setTimeout(end, 3000);
`;

test('http: a burst of connections waits for a snapctr that is busy, and is not dropped', async (t) => {
  const most = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));
  const count = 2400;
  if (most < count) return t.skip(`the kernel keeps ${most} connections at most (net.core.somaxconn)`);
  await withGateway({}, async (gateway, port) => {
    // Until it has ended this process accepts nothing.
    const argv = ['-e', BURST, String(port), String(count)];
    const connected = execFileSync(process.execPath, argv, { encoding: 'utf8' });
    assert.equal(Number(connected), count);
    const client = await RawClient.open(port);
    assert.equal((await client.send(numbered(1)).response()).body, '1');
    client.socket.destroy();
    await until('they are gone', () => gateway.openConnections === 0);
  });
});

test('http: requests sent ahead are answered in their order, whichever is done first', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (_gateway, port) => {
    const client = await RawClient.open(port);
    client.send(Buffer.concat([numbered(0), numbered(1), numbered(2)]));
    for (const task of [...(await held.until(3))].reverse()) echo(task);
    for (let n = 0; n < 3; n += 1) assert.equal((await client.response()).body, String(n));
    client.socket.destroy();
  });
});

test('http: bytes that are no HTTP behind a request do not take its answer', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (_gateway, port) => {
    const client = await RawClient.open(port);
    client.send(Buffer.concat([numbered(0), numbered(1), Buffer.from('nonsense\r\n\r\n')]));
    for (const task of [...(await held.until(2))].reverse()) echo(task);
    assert.equal((await client.response()).body, '0');
    assert.equal((await client.response()).body, '1');
    assert.equal(errorOf(await client.response()).code, 'bad_request');
    await client.ended();
    client.socket.destroy();
  });
});

test('http: a body that comes in pieces is put together', async () => {
  await withGateway({}, async (_gateway, port) => {
    const client = await RawClient.open(port);
    client.socket.setNoDelay(true);
    for (const byte of numbered(7)) {
      await new Promise((resolve) => client.socket.write(Buffer.of(byte), resolve));
    }
    assert.equal((await client.response()).body, '7');
    client.socket.destroy();
  });
});

for (const framing of ['content-length: 100', 'transfer-encoding: chunked']) {
  test(`http: a body cut off by a half-closed connection is answered and never run (${framing})`, async () => {
    const held = new Held();
    await withGateway({ submit: held.submit }, async (_gateway, port) => {
      const client = await RawClient.open(port);
      client.socket.end(
        `POST / HTTP/1.1\r\nhost: localhost\r\n${framing}\r\n\r\n1${framing.includes('chunked') ? '0\r\n{' : ''}`,
      );
      const response = await client.response();
      assert.equal(response.status, 400);
      assert.match(errorOf(response).message, /ended before the request was complete/);
      await client.ended();
    });
    assert.equal(held.tasks.length, 0);
  });
}

test('http: a connection that breaks off within a body is forgotten', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (gateway, port) => {
    const client = await RawClient.open(port);
    client.send('POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{');
    client.socket.resetAndDestroy();
    await once(client.socket, 'close');
    await gateway.drain();
  });
  assert.equal(held.tasks.length, 0);
});

for (const part of ['POST / HT', 'POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{']) {
  test(`http: a client too slow with its ${part.includes('\n') ? 'body' : 'headers'} is told and let go`, async () => {
    const held = new Held();
    await withGateway({ submit: held.submit, requestTimeoutMs: 50 }, async (_gateway, port) => {
      const client = await RawClient.open(port);
      const response = await client.send(part).response();
      assert.equal(response.status, 400);
      assert.match(errorOf(response).message, /not complete within 50 ms/);
      await client.ended();
      client.socket.destroy();
    });
    assert.equal(held.tasks.length, 0);
  });
}

test('http: a function may take longer than a request may take to arrive', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit, requestTimeoutMs: 50 }, async (_gateway, port) => {
    const runs = await RawClient.open(port);
    runs.send(numbered(1));
    await held.until(1);
    // This one is let go only after the limit has passed, and so proves that it passed for the other too.
    const slow = await RawClient.open(port);
    assert.equal((await slow.send('POST').response()).status, 400);
    echo(held.task(0));
    assert.equal((await runs.response()).body, '1');
    runs.socket.destroy();
    slow.socket.destroy();
  });
});

test('http: idle connections take nothing from the others', async () => {
  await withGateway({ requestTimeoutMs: 1000 }, async (gateway, port) => {
    const idle = await Promise.all(Array.from({ length: 200 }, () => RawClient.open(port)));
    await Promise.all(idle.slice(0, 100).map((client) => client.send(numbered(1)).response()));
    // Those that never said a word are closed without one; those that were served before stay.
    await Promise.all(idle.slice(100).map((client) => client.ended()));
    for (const client of idle.slice(100)) assert.equal(client.received, '');
    for (const client of idle.slice(0, 100)) assert.equal((await client.send(numbered(2)).response()).body, '2');
    for (const client of idle) client.socket.destroy();
    await gateway.drain();
  });
});

test('http: a client that hangs up aborts its task; the reply is dropped', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (_gateway, port) => {
    const client = await RawClient.open(port);
    client.send(Buffer.concat([numbered(0), numbered(1)]));
    const tasks = await held.until(2);
    assert(tasks.every((task) => !task.signal.aborted));
    client.socket.destroy();
    await Promise.all(tasks.map((task) => aborted(task.signal)));
    tasks.forEach(echo);
    const other = await RawClient.open(port);
    other.send(numbered(2));
    assert.equal((await held.until(3))[2]?.signal.aborted, false);
    echo(held.task(2));
    assert.equal((await other.response()).body, '2');
    other.socket.destroy();
  });
});

test('http: a signal asked for after the client is gone is aborted', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (gateway, port) => {
    const client = await RawClient.open(port);
    client.send(numbered(0));
    await held.until(1);
    await gateway.close();
    assert.equal(held.task(0).signal.aborted, true);
    echo(held.task(0));
    client.socket.destroy();
  });
});

test('http: draining answers what runs, refuses what comes, and then ends', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (gateway, port) => {
    const idle = await RawClient.open(port);
    const runs = await RawClient.open(port);
    const later = await RawClient.open(port);
    runs.send(numbered(1));
    await held.until(1);
    let drained = false;
    const drain = gateway.drain().then(() => (drained = true));
    const refused = await later.send(numbered(2)).response();
    assert.deepEqual([refused.status, errorOf(refused).code], [503, 'shutting_down']);
    assert.deepEqual([refused.headers.get('connection'), refused.headers.get('retry-after')], ['close', '1']);
    await later.ended();
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
    assert.equal(drained, false);
    echo(held.task(0));
    const answer = await runs.response();
    assert.deepEqual([answer.status, answer.body, answer.headers.get('connection')], [200, '1', 'close']);
    await drain;
    await idle.ended();
    await assert.rejects(RawClient.open(port), /ECONNREFUSED/);
    assert.equal(held.tasks.length, 1);
    for (const client of [idle, runs, later]) client.socket.destroy();
  });
});

test('http: draining does not wait for a client that hung up, but for its task', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (gateway, port) => {
    const client = await RawClient.open(port);
    client.send(numbered(1));
    await held.until(1);
    let drained = false;
    const drain = gateway.drain().then(() => (drained = true));
    client.socket.destroy();
    await aborted(held.task(0).signal);
    assert.equal(drained, false);
    echo(held.task(0));
    await drain;
  });
});

test('http: closing ends open connections at once', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (gateway, port) => {
    const client = await RawClient.open(port);
    client.send(numbered(1));
    await held.until(1);
    await gateway.close();
    await client.ended();
    assert.equal(held.task(0).signal.aborted, true);
    echo(held.task(0));
  });
});

test('http: a taken port is an error with the address and what to do', async () => {
  await withGateway({}, async (_gateway, port) => {
    const second = new HttpGateway({
      host: '127.0.0.1',
      port,
      maxPayloadBytes: 1,
      requestMemoryBytes: 1,
      submit: echo,
      readiness: () => ({ ready: true }),
      status: () => null,
      metrics: () => Promise.resolve({ contentType: 'text/plain', body: '' }),
    });
    await assert.rejects(
      second.start(),
      new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}: port ${port} is taken.*--port`),
    );
    await second.close();
  });
});

test('http: a host that is not here is an error that says so', async () => {
  await assert.rejects(
    withGateway({ host: '192.0.2.1' }, () => Promise.resolve()),
    /192\.0\.2\.1 is no address of this machine.*--host/,
  );
});

test('http: of requests sent ahead only some are worked on at once, and all are answered in order', async () => {
  const held = new Held();
  await withGateway({ submit: held.submit }, async (_gateway, port) => {
    const client = await RawClient.open(port);
    client.send(Buffer.concat(Array.from({ length: 100 }, (_, n) => numbered(n))));
    await held.until(16);
    // A round trip on another connection: whatever was to be submitted has been.
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
    assert.equal(held.tasks.length, 16);
    for (let n = 0; n < 100; n += 1) {
      await held.until(n + 1);
      echo(held.task(n));
      assert.equal((await client.response()).body, String(n));
    }
    client.socket.destroy();
  });
});

test('http: requests whose answers nobody reads wait, and take no memory', async () => {
  const answer = Buffer.alloc(6 * MIB, 'x');
  let submitted = 0;
  const submit = (task: Task): void => {
    submitted += 1;
    task.reply({ status: 'ok', result: Buffer.from(answer), start: 'warm' });
  };
  await withGateway({ submit, requestTimeoutMs: 2000 }, async (_gateway, port) => {
    const client = await RawClient.open(port);
    client.socket.pause();
    const before = process.memoryUsage().rss;
    client.send(Buffer.concat(Array.from({ length: 1000 }, (_, n) => numbered(n))));
    await until('some are answered', () => submitted >= 16);
    await sleep(500);
    assert.equal(submitted, 16);
    assert.ok(process.memoryUsage().rss - before < 300 * MIB);
    client.socket.destroy();
  });
});

for (const requestTimeoutMs of [500, 1000]) {
  test(`http: a client that does not read is cut after its ${requestTimeoutMs} ms`, async () => {
    const submit = (task: Task): void =>
      task.reply({ status: 'ok', result: Buffer.alloc(6 * MIB, 'x'), start: 'warm' });
    await withGateway({ submit, requestTimeoutMs }, async (gateway, port) => {
      const client = await RawClient.open(port);
      client.socket.pause();
      const sent = performance.now();
      client.send(numbered(1));
      await until('it is open', () => gateway.openConnections === 1 && gateway.budget.takenBytes > 0);
      await until('it is cut', () => gateway.openConnections === 0);
      const took = performance.now() - sent;
      assert.ok(took > 0.7 * requestTimeoutMs && took < 1.5 * requestTimeoutMs + 200, `${took} ms`);
      assert.equal(gateway.budget.takenBytes, 0);
      client.socket.destroy();
    });
  });
}

test('http: a client that reads slowly gets all of its answer', async () => {
  const submit = (task: Task): void => task.reply({ status: 'ok', result: Buffer.alloc(6 * MIB, 'x'), start: 'warm' });
  await withGateway({ submit, requestTimeoutMs: 4000 }, async (_gateway, port) => {
    const client = await RawClient.open(port);
    client.send(numbered(1));
    let bytes = 0;
    client.socket.on('data', (text: string) => {
      bytes += text.length;
      client.socket.pause();
      setTimeout(() => client.socket.resume(), 15);
    });
    await until('all has come', () => bytes > 6 * MIB);
    client.socket.destroy();
  });
});

describe('http: a client that closes its half of the connection', () => {
  test('gets its answer, and then the end', async () => {
    const held = new Held();
    await withGateway({ submit: held.submit }, async (_gateway, port) => {
      const client = await RawClient.open(port);
      client.socket.end(numbered(7));
      await held.until(1);
      // Long enough for what finds out whether it is still there.
      await sleep(400);
      assert.equal(held.task(0).signal.aborted, false);
      echo(held.task(0));
      const { status, body } = await client.response();
      assert.deepEqual([status, body], [200, '7']);
      await client.ended();
    });
  });

  test('gets the answers of all requests that it sent before, in order', async () => {
    const held = new Held();
    await withGateway({ submit: held.submit }, async (_gateway, port) => {
      const client = await RawClient.open(port);
      client.socket.end(Buffer.concat([numbered(0), numbered(1), numbered(2)]));
      await held.until(3);
      await sleep(150);
      for (const task of [...held.tasks].reverse()) echo(task);
      for (let n = 0; n < 3; n += 1) assert.equal((await client.response()).body, String(n));
      await client.ended();
    });
  });

  test('gets an answer in parts', async () => {
    const held = new Held();
    const stream = (task: Task): void => {
      held.submit(task);
    };
    await withGateway({ submit: stream }, async (_gateway, port) => {
      const client = await RawClient.open(port);
      client.socket.end(numbered(1));
      await held.until(1);
      await sleep(250);
      assert.match(client.received, /^HT?T?$/);
      echo(held.task(0));
      assert.equal((await client.response()).status, 200);
      await client.ended();
    });
  });

  for (const [how, leave] of [
    ['closes', (client: RawClient) => client.socket.destroy()],
    ['closes its half first', (client: RawClient) => client.socket.end(() => client.socket.destroy())],
    ['resets', (client: RawClient) => client.socket.resetAndDestroy()],
  ] as const) {
    test(`and is gone is noticed, if it ${how}`, async () => {
      const held = new Held();
      await withGateway({ submit: held.submit }, async (_gateway, port) => {
        const client = await RawClient.open(port);
        client.send(numbered(1));
        await held.until(1);
        leave(client);
        await aborted(held.task(0).signal);
        echo(held.task(0));
      });
    });
  }
});

describe('http: the memory of requests and answers', () => {
  const head = (bytes: number): string => `POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${bytes}\r\n\r\n`;

  test('a large body without room is refused before it is read, a small one is served', async () => {
    await withGateway({ requestMemoryBytes: 24 * MIB }, async (gateway, port) => {
      const clients = await Promise.all([1, 2].map(() => RawClient.open(port)));
      for (const client of clients) client.send(`${head(6 * MIB)}{`);
      await until('they hold their room', () => gateway.budget.takenBytes === 12 * MIB);
      const late = await RawClient.open(port);
      const refused = await late.send(head(6 * MIB)).response();
      assert.deepEqual([refused.status, errorOf(refused).code], [429, 'queue_full']);
      assert.match(errorOf(refused).message, /one client fill the 18 MB.*request_memory/);
      const other = await RawClient.open(port);
      assert.equal((await other.send(numbered(1)).response()).body, '1');
      for (const client of [...clients, late, other]) client.socket.destroy();
      await until('all room is given back', () => gateway.budget.takenBytes === 0);
      const again = await RawClient.open(port);
      const payload = 'x'.repeat(5 * MIB);
      const { status } = await again.send(post(`{"function":"echo","payload":"${payload}"}`)).response();
      assert.equal(status, 200);
      again.socket.destroy();
    });
  });

  test('clients over IPv6 are told apart from others, and share a part among themselves', async (t) => {
    const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));
    if (!hasIpv6) return t.skip('this host has no ::1');
    await withGateway({ requestMemoryBytes: 24 * MIB, host: '::' }, async (gateway, port) => {
      const greedy = await Promise.all(Array.from({ length: 3 }, () => RawClient.open(port, '::1')));
      for (const client of greedy) client.send(`${head(5 * MIB)}{`);
      await until('it holds all it can', () => gateway.budget.takenBytes === 15 * MIB);
      const same = await RawClient.open(port, '::1');
      assert.match(errorOf(await same.send(head(5 * MIB)).response()).message, /one client fill the 18 MB/);
      // On a socket of both its address is ::ffff:127.0.0.1.
      const other = await RawClient.open(port, '127.0.0.1');
      const body = `{"function":"echo","payload":"${'x'.repeat(5 * MIB)}"}`;
      assert.equal((await other.send(post(body)).response()).status, 200);
      for (const client of [...greedy, same, other]) client.socket.destroy();
      await until('all room is given back', () => gateway.budget.takenBytes === 0);
    });
  });

  test('another client has room beside one that holds all it can get', async () => {
    await withGateway({ requestMemoryBytes: 24 * MIB, host: '0.0.0.0' }, async (gateway, port) => {
      const greedy = await Promise.all(Array.from({ length: 10 }, () => RawClient.open(port)));
      for (const client of greedy) client.send(`${head(5 * MIB)}{`);
      await until('it holds all it can', () => gateway.budget.takenBytes === 15 * MIB);
      const other = await RawClient.open(port, '127.0.0.2');
      const body = `{"function":"echo","payload":"${'x'.repeat(5 * MIB)}"}`;
      assert.equal((await other.send(post(body)).response()).status, 200);
      for (const client of [...greedy, other]) client.socket.destroy();
      await until('all room is given back', () => gateway.budget.takenBytes === 0);
    });
  });

  test('a body of unknown length waits for room, and is refused if there is none in time', async () => {
    const piece = `80000\r\n${'x'.repeat(0x80000)}\r\n`;
    await withGateway({ requestMemoryBytes: 20 * MIB }, async (gateway, port) => {
      const holders = await Promise.all([1, 2].map(() => RawClient.open(port)));
      for (const client of holders) client.send(`${head(6 * MIB)}{`);
      await until('they hold their room', () => gateway.budget.takenBytes === 12 * MIB);
      const client = await RawClient.open(port);
      client.send('POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n');
      for (let n = 0; n < 11; n += 1) client.send(piece);
      client.send('0\r\n\r\n');
      const refused = await client.response();
      assert.deepEqual([refused.status, errorOf(refused).code], [429, 'queue_full']);
      for (const each of [...holders, client]) each.socket.destroy();
      await until('all room is given back', () => gateway.budget.takenBytes === 0);
    });
  });

  test('many clients with large bodies are served or refused in little memory', async () => {
    await withGateway({ requestMemoryBytes: 32 * MIB }, async (gateway, port) => {
      const before = process.memoryUsage().rss;
      const clients = await Promise.all(Array.from({ length: 500 }, () => RawClient.open(port)));
      for (const client of clients) client.send(`${head(6 * MIB)}${'x'.repeat(64 * 1024)}`);
      const refused = await Promise.all(clients.slice(10).map((client) => client.response()));
      assert.ok(refused.every(({ status }) => status === 429));
      assert.ok(gateway.budget.takenBytes <= 32 * MIB);
      assert.ok(process.memoryUsage().rss - before < 300 * MIB);
      for (const client of clients) client.socket.destroy();
    });
  });
});

for (const hosts of ['host: x\r\nhost: y', 'Host: x\r\nHOST: x', 'host: x\r\nhost:']) {
  test(`http: a request with two hosts is refused (${JSON.stringify(hosts)})`, async () => {
    await withGateway({}, async (_gateway, port) => {
      const client = await RawClient.open(port);
      const refused = await client.send(`POST / HTTP/1.1\r\n${hosts}\r\ncontent-length: 2\r\n\r\n{}`).response();
      assert.equal(refused.status, 400);
      assert.match(errorOf(refused).message, /"host" is there more than once/);
      client.socket.destroy();
    });
  });
}
