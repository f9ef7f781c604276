import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FileWatch } from '../../src/storage/file-watch.ts';

/** How long a change may take to be told on a busy machine, in ms. */
const PATIENCE_MS = 10_000;
/** What was not told by then is not told at all: twice what it takes, in ms. */
const SILENCE_MS = 600;

function createBench(context: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-watch-'));
  let changes = 0;
  const watch = new FileWatch({ onChange: () => (changes += 1), onProblem: (message) => assert.fail(message) });
  context.after(async () => {
    await watch.close();
    rmSync(directory, { recursive: true });
  });
  const path = (name: string): string => join(directory, name);
  return {
    watch,
    path,
    changes: () => changes,
    write: (name: string, text = ''): void => {
      mkdirSync(dirname(path(name)), { recursive: true });
      writeFileSync(path(name), text);
    },
    /** How often a change is told of what `act` does. */
    changesBy: async (act: () => void): Promise<number> => {
      // Setting up takes a moment.
      await sleep(SILENCE_MS);
      const before = changes;
      act();
      for (const deadline = Date.now() + PATIENCE_MS; changes === before && Date.now() < deadline; await sleep(20));
      await sleep(SILENCE_MS);
      return changes - before;
    },
    silentFor: async (act: () => void): Promise<boolean> => {
      await sleep(SILENCE_MS);
      const before = changes;
      act();
      await sleep(2 * SILENCE_MS);
      return changes === before;
    },
  };
}

test('file watch: many changes at once are told once, wherever in a directory they are', async (context) => {
  const { watch, path, write, changesBy } = createBench(context);
  write('app/index.js');
  watch.set([path('app')]);
  const act = (): void => {
    write('app/index.js', 'changed');
    write('app/lib/new.js', 'new');
  };
  assert.equal(await changesBy(act), 1);
});

test('file watch: a file that an editor replaces is told of, each time', async (context) => {
  const { watch, path, write, changesBy } = createBench(context);
  write('functions.yaml');
  watch.set([path('functions.yaml')]);
  for (const text of ['first', 'second']) {
    const act = (): void => {
      write('functions.yaml~', text);
      renameSync(path('functions.yaml~'), path('functions.yaml'));
    };
    assert.equal(await changesBy(act), 1);
  }
});

test('file watch: what is not asked for any more, and what is installed, is not told of', async (context) => {
  const { watch, path, write, changesBy, silentFor } = createBench(context);
  write('old/app.py');
  write('new/app.py');
  watch.set([path('old')]);
  watch.set([path('new')]);
  assert.ok(await silentFor(() => write('old/app.py', 'changed')));
  assert.ok(await silentFor(() => write('new/node_modules/x/index.js', 'installed')));
  assert.equal(await changesBy(() => write('new/app.py', 'changed')), 1);
});

test('file watch: a path that is not there yet is told of when it comes', async (context) => {
  const { watch, path, write, changesBy } = createBench(context);
  write('something');
  watch.set([path('later.yaml')]);
  assert.equal(await changesBy(() => write('later.yaml', 'here')), 1);
});

test('file watch: whatever is written last is told of, however soon after another change', async (context) => {
  const { watch, path, write, changes } = createBench(context);
  write('app.py');
  watch.set([path('app.py')]);
  await sleep(SILENCE_MS);
  for (const lateMs of [0, 2, 10, 30, 45]) {
    const before = changes();
    // Longer than anything is waited for, so that a change is told while others come.
    for (const deadline = Date.now() + PATIENCE_MS; changes() === before && Date.now() < deadline; await sleep(5)) {
      write('app.py', String(performance.now()));
    }
    await sleep(lateMs);
    const told = changes();
    write('app.py', `last, after ${lateMs} ms`);
    for (const deadline = Date.now() + PATIENCE_MS; changes() === told && Date.now() < deadline; await sleep(5));
    assert.ok(changes() > told, `not told of what came ${lateMs} ms later`);
    await sleep(SILENCE_MS);
  }
});
