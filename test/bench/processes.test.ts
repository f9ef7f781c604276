import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { treeCpuSeconds } from '../../bench/support/processes.ts';

const BURN = 'const end = process.cpuUsage().user + 200_000; while (process.cpuUsage().user < end);';
/** Tells when a child that has ended and one that lives have used the processor. */
const PARENT = `
const { spawn, spawnSync } = require('node:child_process');
spawnSync(process.execPath, ['-e', ${JSON.stringify(BURN)}]);
const living = ${JSON.stringify(`${BURN} console.log('burnt'); setInterval(() => undefined, 1000);`)};
spawn(process.execPath, ['-e', living], { stdio: ['ignore', 'inherit', 'inherit'] });
setInterval(() => undefined, 1000);
`;

test('processor time of a process tree: children that live, and those that ended', async () => {
  const parent = spawn(process.execPath, ['-e', PARENT], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  try {
    await once(createInterface({ input: parent.stdout }), 'line');
    const seconds = treeCpuSeconds(parent.pid ?? 0);
    assert.ok(seconds >= 0.4 && seconds < 5, `${seconds} s`);
  } finally {
    process.kill(-(parent.pid ?? 0), 'SIGKILL');
  }
  await once(parent, 'exit');
  assert.equal(treeCpuSeconds(parent.pid ?? 0), 0);
});
