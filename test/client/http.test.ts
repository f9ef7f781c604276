/** One exchange of a command with a controller, which may be behind a proxy that has much to say. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { exchange } from '../../src/client/http.ts';

test('client: all headers of an answer are read, however many', async () => {
  const many = 'a:1\r\n'.repeat(2100);
  const server = createServer((socket) => {
    socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${many}x-last: z\r\ncontent-length: 2\r\n\r\nab`));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const { status, headers, body } = await exchange({ method: 'GET', url, headers: {}, patienceMs: 10_000 });
    assert.deepEqual([status, headers['x-last'], body.toString()], [200, 'z', 'ab']);
  } finally {
    server.close();
  }
});
