/** When `snapctr dev` deploys. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { develop } from '../../src/client/dev-loop.ts';

const PATIENCE_MS = 60_000;

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `not ${what}`);
    await sleep(20);
  }
}

test('a directory is deployed at once, after each save, and once more if it was saved meanwhile; a failure is told', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
  const save = (text: string): void => writeFileSync(join(directory, 'index.js'), text);
  save('0');
  const stop = new AbortController();
  const failures: unknown[] = [];
  let begun = 0;
  let done = 0;
  let running = 0;
  let hold: Promise<void> | null = null;
  let failing = false;
  const loop = develop(directory, {
    deploy: async () => {
      begun += 1;
      running += 1;
      assert.equal(running, 1, 'one at a time');
      await hold;
      running -= 1;
      if (failing) throw new Error('no');
      done += 1;
    },
    onFailure: (error) => void failures.push(error),
    onProblem: (text) => assert.fail(text),
    signal: stop.signal,
  });
  await until(() => done >= 1, 'deployed at once');
  t.after(async () => {
    stop.abort();
    await loop;
    rmSync(directory, { recursive: true });
  });
  // The watch may not have begun yet: a save is repeated until it is seen.
  let before = done;
  await until(() => (save(String(performance.now())), done > before), 'deployed after a save');
  await until(() => running === 0, 'quiet');
  let release = (): void => undefined;
  hold = new Promise((resolve) => (release = resolve));
  before = begun;
  await until(() => (save(String(performance.now())), begun > before), 'begun');
  save('saved while it is deployed');
  await sleep(400);
  before = done;
  hold = null;
  release();
  await until(() => done >= before + 2, 'deployed once more');
  failing = true;
  await until(() => (save(String(performance.now())), failures.length > 0), 'told');
  failing = false;
  before = done;
  await until(() => (save(String(performance.now())), done > before), 'deployed after a failure');
});

test('a save while the first deployment reads the files is deployed as well', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
  const file = join(directory, 'index.js');
  writeFileSync(file, 'old');
  const stop = new AbortController();
  const deployed: string[] = [];
  const loop = develop(directory, {
    deploy: () => {
      deployed.push(readFileSync(file, 'utf8'));
      if (deployed.length === 1) writeFileSync(file, 'new');
      return Promise.resolve();
    },
    onFailure: (error) => assert.fail(String(error)),
    onProblem: (text) => assert.fail(text),
    signal: stop.signal,
  });
  t.after(async () => {
    stop.abort();
    await loop;
    rmSync(directory, { recursive: true });
  });
  await until(() => deployed.length > 1, 'deployed again');
  assert.deepEqual(deployed, ['old', 'new']);
});
