import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, connect, type Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Qmp } from '../../../src/firerunner/qemu/qmp.ts';

const never = new AbortController().signal;
const GREETING = '{"QMP": {"version": {}, "capabilities": []}}\r\n';

/** A client and, in QEMU's place, the other end of its socket with the commands that arrive there. */
async function withQmp(
  use: (qmp: Qmp, qemu: Socket, commands: { execute: string; id: number }[]) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-qmp-'));
  const server = createServer().listen(join(directory, 'socket'));
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = connect(join(directory, 'socket'));
  const [qemu] = await accepted;
  const commands: { execute: string; id: number }[] = [];
  qemu.on('data', (bytes: Buffer) => {
    for (const line of bytes.toString().trim().split('\n')) {
      commands.push(JSON.parse(line) as { execute: string; id: number });
    }
  });
  try {
    await use(new Qmp(client), qemu, commands);
  } finally {
    client.destroy();
    qemu.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  }
}

async function arrived(commands: readonly { execute: string }[], count: number): Promise<void> {
  while (commands.length < count) await new Promise((resolve) => setImmediate(resolve));
}

test('QMP: capabilities are negotiated first, and replies find their commands by id', { timeout: 5000 }, () =>
  withQmp(async (qmp, qemu, commands) => {
    const [stop, status] = [qmp.execute('stop'), qmp.execute('query-status')];
    await arrived(commands, 3);
    assert.deepEqual(
      commands.map(({ execute }) => execute),
      ['qmp_capabilities', 'stop', 'query-status'],
    );
    qemu.write(`${GREETING}{"return": {"running": true}, "id": ${commands[2]?.id}}\n`);
    qemu.write(`{"return": {}, "id": ${commands[1]?.id}}\n`);
    await qmp.greeting;
    assert.deepEqual([await stop, await status], [{}, { running: true }]);
  }),
);

test('QMP: a refusal carries the command and QEMU’s words', { timeout: 5000 }, () =>
  withQmp(async (qmp, qemu, commands) => {
    const refused = qmp.execute('migrate', { uri: 'nowhere' });
    await arrived(commands, 2);
    qemu.write(`{"error": {"class": "GenericError", "desc": "no such place"}, "id": ${commands[1]?.id}}\n`);
    await assert.rejects(refused, /migrate: no such place/);
  }),
);

test('QMP: messages may come in any pieces, also through the middle of a character', { timeout: 5000 }, () =>
  withQmp(async (qmp, qemu) => {
    const event = qmp.event(({ name }) => name === 'RESUME', never);
    for (const byte of Buffer.from(`${GREETING}{"event": "STOP"}\n{"event": "RESUME", "data": {"where": "für"}}\n`)) {
      qemu.write(Buffer.from([byte]));
    }
    assert.deepEqual((await event).data, { where: 'für' });
  }),
);

test('QMP: the end of QEMU ends whatever is waited for', { timeout: 5000 }, () =>
  withQmp(async (qmp, qemu, commands) => {
    const waiting = qmp.execute('cont');
    await arrived(commands, 2);
    qemu.destroy();
    await assert.rejects(waiting, /cont/);
    await assert.rejects(qmp.greeting);
  }),
);

test('QMP: waiting for an event ends with its signal', { timeout: 5000 }, () =>
  withQmp(async (qmp) => {
    await assert.rejects(
      qmp.event(() => true, AbortSignal.abort(new Error('called off'))),
      /called off/,
    );
  }),
);

test('QMP: a line without an end ends the connection and takes no memory', { timeout: 20_000 }, () =>
  withQmp(async (qmp, qemu, commands) => {
    const unanswered = qmp.execute('stop');
    await arrived(commands, 2);
    const before = process.memoryUsage().rss;
    const flood = setInterval(() => qemu.write('x'.repeat(256 * 1024)), 1);
    qemu.on('error', () => undefined);
    await assert.rejects(unanswered, /QEMU ended before it answered stop/);
    clearInterval(flood);
    assert.ok(process.memoryUsage().rss - before < 64 * 1024 * 1024);
  }),
);

test('QMP: what is no message ends the connection, and nothing else', { timeout: 20_000 }, async () => {
  const lines = [
    'null',
    '[]',
    '1',
    '{"event": 1}',
    '{"event": "STOP", "data": null}',
    '{"event": "STOP", "data": []}',
    '{"error": null, "id": 2}',
    '{"error": "no", "id": 2}',
    '{"error": {}, "id": 2}',
    '{"error": {"desc": {"toString": 0}}, "id": 2}',
    '{"return": {}, "id": "2"}',
  ];
  for (const line of lines) {
    await withQmp(async (qmp, qemu, commands) => {
      const stopped = qmp.execute('stop');
      await arrived(commands, 2);
      qemu.write(`${line}\n`);
      await assert.rejects(stopped, /^Error: QEMU ended before it answered stop$/, line);
    });
  }
});
