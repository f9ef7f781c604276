import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { assertNothingLeft, createWorkspace, environment, PROJECT_ROOT, type Workspace } from '../support/snapctr.ts';

/** What a second start may take until it listens, in ms. */
const SECOND_START_MS = 5000;

interface Start {
  /** From the command to `listening on`, in ms. */
  readonly listeningMs: number;
  /** The line that `npm start` prints to try it. */
  readonly curl: string;
  stop(): Promise<void>;
}

async function npmStart(workspace: Workspace): Promise<Start> {
  const started = performance.now();
  const child = spawn('npm', ['start'], {
    cwd: PROJECT_ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...environment(workspace), PORT: '0' },
  });
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const output: string[] = [];
  let listeningMs = Number.NaN;
  const curl = new Promise<string>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        output.push(line);
        if (line.startsWith('listening on ')) listeningMs = performance.now() - started;
        const command = /^\s*(curl .*)$/.exec(line)?.[1];
        if (command !== undefined) resolve(command);
      });
    }
  });
  const command = await Promise.race([curl, exited.then(() => null)]);
  assert.ok(command !== null, `npm start ended:\n${output.join('\n')}`);
  return {
    listeningMs,
    curl: command,
    async stop() {
      child.kill('SIGTERM');
      assert.deepEqual(await exited, [0, null]);
    },
  };
}

test('npm start: a second one listens within five seconds, and its curl line works', { timeout: 240_000 }, async () => {
  const workspace = createWorkspace([]);
  const first = await npmStart(workspace);
  await first.stop();
  const second = await npmStart(workspace);
  assert.ok(second.listeningMs < SECOND_START_MS, `it took ${second.listeningMs.toFixed(0)} ms`);
  const { stdout } = await promisify(execFile)('sh', ['-c', second.curl]);
  assert.deepEqual(JSON.parse(stdout), { greeting: 'Hello, world!' });
  await second.stop();
  await assertNothingLeft(workspace);
  workspace.remove();
});
