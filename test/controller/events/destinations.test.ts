/** Files and HTTP endpoints that are told how events ended. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { deliver, type Message } from '../../../src/controller/events/destinations.ts';
import { hopsOf } from '../../../src/controller/events/hops.ts';
import { collectGarbage } from '../../support/garbage.ts';

const MESSAGE: Message = { payload: Buffer.from('{"n":1}'), hops: 3 };
const { signal: NEVER } = new AbortController();

async function withEndpoint(listener: RequestListener, use: (url: string) => Promise<void>): Promise<void> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test(
  'destinations: an endpoint that never answers has its time, whatever memory is collected meanwhile',
  { timeout: 30_000 },
  () =>
    withEndpoint(
      () => undefined,
      async (url) => {
        const collecting = setInterval(collectGarbage, 20);
        try {
          await assert.rejects(deliver(null, { kind: 'http', url }, MESSAGE, NEVER, 300), { name: 'TimeoutError' });
        } finally {
          clearInterval(collecting);
        }
      },
    ),
);

test('destinations: an endpoint is told how many destinations led there, in a header that an event begins from', async () => {
  const told: number[] = [];
  await withEndpoint(
    ({ headers }, response) => {
      told.push(hopsOf(headers));
      response.writeHead(204).end();
    },
    async (url) => {
      for (const hops of [1, 16]) await deliver(null, { kind: 'http', url }, { ...MESSAGE, hops }, NEVER);
    },
  );
  assert.deepEqual(told, [1, 16]);
  for (const [value, hops] of [
    ['0', 0],
    ['017', 16],
    ['9'.repeat(400), 16],
    ['-1', 0],
    ['1e1', 0],
    ['1, 2', 0],
    ['', 0],
    [undefined, 0],
  ] as const) {
    assert.equal(hopsOf({ 'x-snapfaas-destination-hops': value }), hops, value);
  }
});

test('destinations: what is no regular file is refused, a FIFO at once', { timeout: 30_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-places-'));
  const fifo = join(directory, 'fifo');
  const to = (name: string): Promise<void> => deliver(directory, { kind: 'file', name }, MESSAGE, NEVER);
  let reader: number | null = null;
  try {
    execFileSync('mkfifo', [fifo]);
    await assert.rejects(to('fifo'), { code: 'ENXIO' });
    reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    await assert.rejects(to('fifo'), /no regular file/);
    mkdirSync(join(directory, 'folder'));
    await assert.rejects(to('folder'), { code: 'EISDIR' });
    await to('file');
  } finally {
    // A write that waits for a reader would hold this process.
    reader ??= openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    closeSync(reader);
    rmSync(directory, { recursive: true });
  }
});
