/** A thousand pages that are open, some of which have stopped reading, while functions run. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { createWorkspace, startController } from '../support/snapctr.ts';

const READERS = 1000;
const REQUESTS = 300;
/** What the readers may cost, in MB: some 100 KB each. */
const MOST_MB = 100;

function residentMb(pid: number): number {
  const [, kb = ''] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kb) / 1024;
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write('GET /ui/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
  return socket;
}

test('a thousand readers of the stream, a tenth of them stopped, hold up no requests and take a bounded memory', async (t) => {
  if (process.platform !== 'linux') return t.skip('the memory of a process is read from /proc');
  const workspace = createWorkspace([
    {
      name: 'quick',
      runtime: 'nodejs',
      keys: { handler: 'index.handler' },
      files: { 'index.js': 'exports.handler = async (event) => event;\n' },
    },
  ]);
  const snapctr = await startController(workspace, { vmm: 'process' });
  const sockets: Socket[] = [];
  try {
    for (let index = 0; index < 20; index += 1) assert.equal((await snapctr.invoke('quick', index)).status, 200);
    const before = residentMb(snapctr.pid);
    const port = Number(new URL(snapctr.url).port);
    const told: number[] = [];
    for (let index = 0; index < READERS; index += 1) {
      const socket = await open(port);
      sockets.push(socket);
      told.push(0);
      if (index % 10 === 0) socket.pause();
      else
        socket.on(
          'data',
          (piece: Buffer) => (told[index] = (told[index] ?? 0) + piece.toString().split('event: ').length - 1),
        );
    }
    for (let index = 0; index < REQUESTS; index += 1) {
      const begun = performance.now();
      assert.equal((await snapctr.invoke('quick', index)).status, 200);
      assert.ok(performance.now() - begun < 5000, `request ${index} took long`);
    }
    const reading = (): readonly number[] => told.filter((_, index) => index % 10 !== 0);
    for (const deadline = performance.now() + 20_000; reading().some((count) => count < 2);) {
      assert.ok(performance.now() < deadline, `${reading().filter((count) => count < 2).length} were told too little`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const after = residentMb(snapctr.pid);
    console.log(`${before.toFixed(0)} MB before, ${after.toFixed(0)} MB with ${READERS} readers`);
    assert.ok(after - before < MOST_MB, `${before} MB became ${after} MB`);
  } finally {
    for (const socket of sockets) socket.destroy();
    await snapctr.stop();
    workspace.remove();
  }
});
