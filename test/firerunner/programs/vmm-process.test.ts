import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { ConsoleTail, startVmmProcess } from '../../../src/firerunner/programs/vmm-process.ts';
import { childrenOf, commandOf, until } from '../../end-to-end/processes.ts';
import { startProgram, type RunningProgram } from '../../support/program.ts';
import { assertNothingLeft, createWorkspace, type Workspace } from '../../support/snapctr.ts';
import { PassThrough } from 'node:stream';

const STARTER = fileURLToPath(new URL('fixtures/starter.ts', import.meta.url));

describe('VMM process', { timeout: 30_000 }, () => {
  let workspace: Workspace;
  beforeEach(() => (workspace = createWorkspace([])));
  afterEach(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  // The directory among the arguments makes the VMM one that `assertNothingLeft` sees.
  const start = (env: NodeJS.ProcessEnv = {}): RunningProgram =>
    startProgram('--import', ['tsx', STARTER, workspace.directory], { workspace, env });
  const vmmOf = (program: RunningProgram, name: string): number | undefined =>
    childrenOf(program.pid).find((pid) => commandOf(pid).some((word) => word.endsWith(name)));

  test('dies with its firerunner, whatever that dies of', async () => {
    const program = start();
    await until('it runs', () => program.stdout === 'started\n' && vmmOf(program, 'tail') !== undefined);
    program.kill('SIGKILL');
    assert.equal((await program.finished).status, 'SIGKILL');
    await assertNothingLeft(workspace);
  });

  test('does not start when its firerunner died before the kernel knew of the two', async () => {
    const bin = join(workspace.directory, 'bin');
    mkdirSync(bin);
    // The real one, but only when the process that started it is gone.
    const late = `#!/bin/sh\nwhile kill -0 $PPID 2>/dev/null; do sleep 0.02; done\nPATH=$REAL_PATH exec setpriv "$@"\n`;
    writeFileSync(join(bin, 'setpriv'), late);
    chmodSync(join(bin, 'setpriv'), 0o755);
    const path = process.env['PATH'] ?? '';
    const program = start({ PATH: `${bin}${delimiter}${path}`, REAL_PATH: path });
    await until('it is about to run', () => vmmOf(program, 'setpriv') !== undefined);
    program.kill('SIGKILL');
    await program.finished;
    await assertNothingLeft(workspace);
  });

  test('tells how it ended, and killing it again does no harm', async () => {
    const done = await startVmmProcess('sh', ['-c', 'exit 3'], { stdio: 'ignore' });
    assert.deepEqual(await done.exited, { status: 3, signal: null, reason: 'sh exited with status 3' });
    assert.equal((await done.kill()).status, 3);
    const killed = await startVmmProcess('tail', ['-f', '/dev/null'], { stdio: 'ignore' });
    assert.deepEqual(await killed.kill(), { status: null, signal: 'SIGKILL', reason: 'tail was killed by SIGKILL' });
  });

  test('a host that cannot start a process is what is told', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = workspace.directory;
    try {
      const failure = { name: 'HostError', message: /^setpriv could not be started: / };
      await assert.rejects(startVmmProcess('true', [], { stdio: 'ignore' }), failure);
      await assert.rejects(startVmmProcess('true', ['\0'], { stdio: 'ignore' }), failure);
    } finally {
      process.env['PATH'] = path;
    }
  });

  test('a program that is not there ends with the words of the shell', async () => {
    const vmm = await startVmmProcess('no-such-vmm', [], { stdio: ['ignore', 'pipe', 'pipe'] });
    const tail = new ConsoleTail();
    tail.watch(vmm.child.stderr);
    assert.equal((await vmm.exited).reason, 'no-such-vmm exited with status 127');
    assert.match(tail.lines().join('\n'), /no-such-vmm: not found/);
  });
});

test('output tail: keeps the last 40 lines, cut to 500 characters, and what has no end yet', async () => {
  const stream = new PassThrough();
  const tail = new ConsoleTail();
  tail.watch(stream);
  for (let i = 0; i < 100; i += 1) stream.write(`line ${i}\r\n\r\n`);
  stream.write(`${'x'.repeat(2000)}\nunfinished`);
  await until('it is read', () => tail.lines().at(-1) === 'unfinished');
  const lines = tail.lines();
  assert.equal(lines.length, 41);
  assert.equal(lines[0], 'line 61');
  assert.equal(lines.at(-2), 'x'.repeat(500));
});
