import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { HttpGateway } from '../../../src/controller/gateway/http.ts';
import { echo, errorOf, Held, post, RawClient, withGateway } from './http-client.ts';

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
        `POST / HTTP/1.1\r\nhost: x\r\n${framing}\r\n\r\n1${framing.includes('chunked') ? '0\r\n{' : ''}`,
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
    client.send('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{');
    client.socket.resetAndDestroy();
    await once(client.socket, 'close');
    await gateway.drain();
  });
  assert.equal(held.tasks.length, 0);
});

for (const part of ['POST / HT', 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{']) {
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
  await withGateway({ requestTimeoutMs: 50 }, async (gateway, port) => {
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
