/** In which order and in what slices snapctr is obeyed, on a clock that the test moves. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { RunnerCommand } from '../../src/protocol/runner.ts';
import { obeyUntilSilent } from '../../src/protocol/served.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, i) => `${JSON.stringify({ op: 'kill', vm: String(from + i) })}\n`).join('');

/** Commands that take 2 ms each, and how many were obeyed by the end of each turn. */
function obeying() {
  const stdin = new PassThrough();
  const obeyed: string[] = [];
  let clock = 0;
  const state = { isOver: false };
  const obey = (value: unknown): void => {
    const command = value as RunnerCommand;
    clock += 2;
    obeyed.push(command.op === 'kill' ? command.vm : command.op);
  };
  const served = { name: 'firerunner', ends: '', maxLineBytes: 1024 * 1024 };
  void obeyUntilSilent(served, stdin, obey, () => clock).then(() => (state.isOver = true));
  return { stdin, obeyed, state };
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i));

test('served: of many that come at once a few are obeyed in a turn, all in their order', async () => {
  const { stdin, obeyed, state } = obeying();
  stdin.write(lines(0, 50));
  stdin.write(lines(50, 60));
  let most = 0;
  for (let turns = 0; obeyed.length < 60; turns += 1) {
    assert.ok(turns < 100, `${obeyed.length} were obeyed`);
    const before = obeyed.length;
    await turn();
    most = Math.max(most, obeyed.length - before);
  }
  assert.deepEqual(obeyed, numbers(60));
  assert.ok(most <= 6, `${most} in one turn`);
  stdin.end();
  while (!state.isOver) await turn();
});

test('served: whatever came before the end is obeyed before it', async () => {
  const { stdin, obeyed, state } = obeying();
  stdin.end(lines(0, 40));
  while (!state.isOver) await turn();
  assert.deepEqual(obeyed, numbers(40));
});

test('served: a line that is none, or has no end, is the end, behind what came before it', async () => {
  for (const last of ['{"op":\n', 'x'.repeat(2 * 1024 * 1024)]) {
    const { stdin, obeyed, state } = obeying();
    stdin.write(lines(0, 10));
    stdin.write(last);
    stdin.write(lines(10, 20));
    while (!state.isOver) await turn();
    assert.deepEqual(obeyed, numbers(10));
    assert.ok(stdin.destroyed);
  }
});
