import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { readVmWork } from '../../../src/controller/telemetry/vm-work.ts';

/** Says that it begins, works for so long, touches so much memory, and waits to be ended. */
const PROGRAM = `
const [ms, bytes] = process.argv.slice(1).map(Number);
const memory = Buffer.alloc(bytes, 1);
const end = process.cpuUsage().user + ms * 1000;
while (process.cpuUsage().user < end);
process.stdout.write(String(memory.length));
process.stdin.resume();
`;

test('vm work: processor time and page faults of a process, whatever it is called, and nothing of one that has ended', async () => {
  const works = [];
  for (const [ms, bytes] of [
    [0, 0],
    [300, 64 * 1024 * 1024],
  ] as const) {
    const child = spawn(process.execPath, ['--title=a) R 1 2 (b', '-e', PROGRAM, String(ms), String(bytes)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const pid = child.pid ?? 0;
    works.push((await readVmWork(pid)) ?? assert.fail('it runs'));
    child.stdin.end();
    await once(child, 'exit');
    assert.equal(await readVmWork(pid), null);
  }
  const [idle, busy] = works;
  assert.ok(idle !== undefined && busy !== undefined);
  assert.ok(busy.cpuMs - idle.cpuMs >= 250, `${busy.cpuMs} and ${idle.cpuMs} ms`);
  // Huge pages, where the host has them on, take fewer faults.
  assert.ok(busy.faults > idle.faults, `${busy.faults} and ${idle.faults} faults`);
  assert.ok(busy.diskFaults <= busy.faults);
});
