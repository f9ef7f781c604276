import assert from 'node:assert/strict';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyState, type Layer } from '../../../src/firerunner/snapshots/layer.ts';
import { SnapshotStore } from '../../../src/firerunner/snapshots/store.ts';
import { ensure, readMemory, sample, temporaryDirectory, type Saved } from './layers.ts';

const BUILDER = join(import.meta.dirname, 'fixtures', 'builder.ts');
const KILLS = 30;
/** Lines that a builder prints for each pair of layers. */
const STEPS = 7;

class Builder {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(directory: string, mode: 'once' | 'loop') {
    this.child = spawn(process.execPath, ['--import', 'tsx', BUILDER, directory, mode], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  /** The next line; undefined after the last. */
  async line(): Promise<string | undefined> {
    const next = await this.#lines.next();
    return next.done === true ? undefined : next.value;
  }

  async begin(): Promise<void> {
    assert.equal(await this.line(), 'ready');
    this.child.stdin.write('\n');
  }

  async kill(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

/** One that was killed while it removed a dead one's lock may be at it for some seconds still, as far as others know. */
async function makeBreakersOld(directory: string): Promise<void> {
  const breakers = (await readdir(directory)).filter((name) => name.endsWith('.breaker'));
  for (const name of breakers) await utimes(join(directory, name), 0, 0);
}

/** Null or a whole layer: anything else is an error. */
async function check(store: SnapshotStore, layers: readonly (Layer | null)[], saved: Saved): Promise<void> {
  const whole = layers.filter((layer) => layer !== null);
  const top = whole.at(-1);
  if (whole.length < layers.length || top === undefined) return;
  assert.ok((await readMemory(store.directory, whole)).equals(saved.memory));
  assert.ok((await verifyState(top)).equals(saved.state));
}

describe('processes', () => {
  test(`after ${KILLS} kills of a builder there are whole layers only`, { timeout: 240_000 }, async () => {
    const store = new SnapshotStore(join(await temporaryDirectory(), 'store'));
    let next = new Builder(store.directory, 'loop');
    try {
      for (let kill = 0; kill < KILLS; kill += 1) {
        const builder = next;
        await builder.begin();
        // Starting a process takes longest; the next does so meanwhile.
        next = new Builder(store.directory, 'loop');
        const steps = Math.floor(Math.random() * 3 * STEPS);
        for (let step = 0; step < steps; step += 1) await builder.line();
        // Not to wait for something, but to come at any moment within a step.
        await sleep(Math.random() * 12);
        await builder.kill();
        for (let seed = 0; seed < 3; seed += 1) {
          const { base, fn } = sample(seed);
          const below = await store.open('base', { seed });
          const layer = await store.open('function', { seed });
          await check(store, [below], base);
          // One that was killed between the two has left the old function layer, of the same bytes here.
          await check(store, [below, layer], fn);
        }
        const { base, fn } = sample(kill % 3);
        const below = await ensure(store, { seed: kill % 3 }, base);
        await check(store, [below, await ensure(store, { seed: kill % 3 }, fn, below)], fn);
      }
    } finally {
      await next.kill();
    }
    const names = (await store.list()).map(({ name }) => name);
    assert.deepEqual(
      (await store.verify()).map(({ problem }) => problem),
      names.map(() => null),
    );
    await makeBreakersOld(store.directory);
    await store.prune(new Set(names));
    const left = await readdir(store.directory);
    assert.deepEqual(left.sort(), names);
    for (const name of names) {
      const files = await readdir(join(store.directory, name));
      assert.deepEqual(
        files.filter((file) => file !== 'working-set'),
        ['index', 'manifest.json', 'pages', 'state'],
      );
    }
  });

  test('of four processes that want a layer at once, one builds it', { timeout: 60_000 }, async () => {
    const store = new SnapshotStore(join(await temporaryDirectory(), 'store'));
    const builders = Array.from({ length: 4 }, () => new Builder(store.directory, 'once'));
    await Promise.all(builders.map((builder) => builder.begin()));
    const said = await Promise.all(
      builders.map(async (builder) => {
        const lines: string[] = [];
        for (let line = await builder.line(); line !== undefined; line = await builder.line()) lines.push(line);
        return lines;
      }),
    );
    assert.equal(said.filter((lines) => lines.includes('built')).length, 1);
    const layer = await store.open('base', { seed: 0 });
    assert.deepEqual(
      said.map((lines) => lines.at(-1)),
      said.map(() => layer?.digest),
    );
    assert.deepEqual(await readdir(store.directory), [layer?.name]);
  });
});
