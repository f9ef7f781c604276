/** The life of one snapshot, in any order of what may happen to it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { FunctionLoadError } from '../../../src/firerunner/guest/guest-life.ts';
import { HostError, LaunchError, type Driver } from '../../../src/firerunner/machine.ts';
import type { Layer } from '../../../src/firerunner/snapshots/layer.ts';
import { Restorable } from '../../../src/firerunner/snapshots/restorable.ts';
import {
  Snapshot,
  type HeldSnapshot,
  type Made,
  type RecipeRequest,
  type SnapshotObserver,
} from '../../../src/firerunner/snapshots/snapshot.ts';
import { SnapshotStore } from '../../../src/firerunner/snapshots/store.ts';
import { ensure, sample, temporaryDirectory } from './layers.ts';

const EVENTS = [
  ...['prepare', 'launch', 'turn', 'release', 'refuse', 'restored', 'close', 'invalidate', 'time passes', 'retire'],
  ...['opened', 'stored', 'built', 'the host is short', 'the VM fails', 'the function fails'],
] as const;
type Event = (typeof EVENTS)[number];
const RARE: readonly Event[] = ['retire'];

/** Longer than any retry waits, in ms. */
const LONG_MS = 2 * 3_600_000;
const ROUNDS = 150;

const driver: Driver = {
  name: 'qemu',
  notice: null,
  snapshots: null,
  boot: () => Promise.reject(new Error('nothing is launched here')),
  close: () => Promise.resolve(),
};

let directory: string;
let layers: readonly Layer[];
before(async () => {
  directory = await temporaryDirectory();
  const store = new SnapshotStore(join(directory, 'store'));
  const { base, fn } = sample(1);
  const below = await ensure(store, { a: 1 }, base);
  layers = [below, await ensure(store, { a: 1 }, fn, below)];
});

/** A snapshot whose recipe does what the events say. */
class Life {
  readonly snapshot: Snapshot;
  readonly #made: Restorable[] = [];
  readonly #asked: {
    readonly request: RecipeRequest;
    readonly resolve: (made: Made) => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  readonly #turns: (() => Promise<unknown>)[] = [];
  readonly #held: HeldSnapshot[] = [];
  readonly #waiting = new Set<Promise<void>>();
  readonly #tick: (ms: number) => void;
  readonly #end = new AbortController();
  #lastObserver: SnapshotObserver | null = null;
  /** What the last one that asked for it was told last. */
  #told: 'nothing' | 'prepared' | 'failed' = 'nothing';
  #open = 0;
  #isRetired = false;
  /** Refused since a VM was last restored. */
  #refused = false;

  constructor(tick: (ms: number) => void) {
    this.#tick = tick;
    this.snapshot = new Snapshot({
      make: (request) => new Promise((resolve, reject) => void this.#asked.push({ request, resolve, reject })),
      mayOpen: () => true,
      whenTurn: (work) => void this.#turns.push(work),
      savingMs: () => 1000,
      onOpened: () => void (this.#open += 1),
      onClosed: () => void (this.#open -= 1),
      signal: this.#end.signal,
    });
  }

  async happen(event: Event, which: number): Promise<void> {
    const held = this.#held[which % Math.max(1, this.#held.length)];
    switch (event) {
      case 'prepare':
        this.#wait(this.snapshot.prepare(this.#observer()));
        break;
      case 'launch':
        this.#wait(this.snapshot.untilOpen().then(() => this.#hold()));
        break;
      case 'turn':
        void this.#turns.shift()?.();
        break;
      case 'release':
        held?.release();
        if (held !== undefined) this.#held.splice(this.#held.indexOf(held), 1);
        break;
      case 'refuse':
        this.#refused ||= held !== undefined;
        held?.onRefused('it was torn');
        break;
      case 'restored':
        held?.onRestored();
        break;
      case 'close':
        this.snapshot.close();
        break;
      case 'invalidate':
        if (held !== undefined) this.snapshot.invalidate(held.restorable);
        break;
      case 'time passes':
        this.#tick(LONG_MS);
        break;
      case 'retire':
        this.#isRetired = true;
        this.snapshot.retire();
        break;
      default:
        await this.#finish(event);
    }
    await this.#check();
  }

  /** Whoever asks for it to be prepared is told how that goes from then on. */
  #observer(): SnapshotObserver {
    const isLast = (): boolean => this.#lastObserver === observer;
    const observer: SnapshotObserver = {
      onPrepared: () => {
        if (isLast()) this.#told = 'prepared';
      },
      onFailed: () => {
        if (isLast()) this.#told = 'failed';
      },
    };
    this.#lastObserver = observer;
    this.#told = 'nothing';
    return observer;
  }

  #wait(work: Promise<unknown>): void {
    const end = work.then(
      () => undefined,
      () => undefined,
    );
    this.#waiting.add(end);
    void end.then(() => this.#waiting.delete(end));
  }

  #hold(): void {
    const held = this.snapshot.hold();
    if (held !== null) this.#held.push(held);
  }

  /** What was asked for first ends like this. */
  async #finish(how: Event): Promise<void> {
    const asked = this.#asked.shift();
    if (asked === undefined) return;
    const { request, resolve, reject } = asked;
    assert.ok(request.unlike === null || this.#refused, 'built again, but nobody has refused it');
    if (how === 'the host is short') return reject(new HostError('no processes'));
    if (how === 'the VM fails') return reject(new LaunchError('it crashed'));
    if (how === 'the function fails') {
      return reject(new FunctionLoadError({ type: 'Error', message: 'no such module', stack: [] }));
    }
    request.onFound(how !== 'built');
    const layer = layers[1]?.name ?? '';
    if (how === 'stored' && !request.open) return resolve({ layer, builtMs: null, restorable: null });
    const restorable = await Restorable.open(driver, directory, layers, true);
    this.#made.push(restorable);
    resolve({ layer, builtMs: how === 'built' ? 1 : null, restorable });
  }

  async #check(): Promise<void> {
    for (let i = 0; i < 3; i += 1) await turn();
    const { state, restorable } = this.snapshot;
    if (this.#isRetired) assert.equal(state.is, 'retired');
    else if (this.#lastObserver !== null) {
      if (state.is === 'open' || state.is === 'closed') assert.equal(this.#told, 'prepared', state.is);
      if (state.is === 'failed') assert.equal(this.#told, 'failed', state.is);
    }
    assert.equal(this.#open, restorable === null ? 0 : 1, 'opened and closed are told in turns');
    const used = new Set(this.#held.map((held) => held.restorable));
    if (restorable !== null) used.add(restorable);
    // Reading fails on a file that is closed, and would be another one's if its number was used again.
    const isRead = async (made: Restorable): Promise<void> => {
      assert.equal((await made.memory.handle.stat()).size, made.memory.bytes);
    };
    for (const made of this.#made) {
      if (used.has(made)) await isRead(made);
      else assert.equal(made.memory.handle.fd, -1, 'a snapshot of no use is open');
    }
    const isUnderWay = state.is === 'building' || state.is === 'opening';
    if (isUnderWay) assert.ok(this.#asked.length + this.#turns.length > 0, `${state.is}, but nobody does it`);
  }

  /** From wherever it is, it comes back by itself, or with the next launch. */
  async end(): Promise<void> {
    for (let i = 0; i < 10 && (this.#waiting.size > 0 || this.#held.length === 0) && !this.#isRetired; i += 1) {
      for (const event of ['turn', 'opened', 'time passes', 'launch'] as const) await this.happen(event, 0);
    }
    assert.ok(this.#held.length > 0 || this.#isRetired, 'the snapshot was lost');
    while (this.#turns.length > 0 || this.#asked.length > 0) {
      await this.happen('turn', 0);
      await this.happen('opened', 0);
    }
    assert.equal(this.#waiting.size, 0, 'somebody waits for ever');
    await this.happen('retire', 0);
    await assert.rejects(this.snapshot.prepare());
    while (this.#held.length > 0) await this.happen('release', 0);
    await this.snapshot.settled();
    this.#end.abort(new Error('the test is over'));
  }
}

test('a snapshot in any order of events: what is held stays readable, what is not is closed, and it is never lost', async (context) => {
  const events = fc.array(
    fc.tuple(
      fc.oneof(
        { weight: 60, arbitrary: fc.constantFrom(...EVENTS.filter((event) => !RARE.includes(event))) },
        { weight: 1, arbitrary: fc.constantFrom(...RARE) },
      ),
      fc.nat(7),
    ),
    { maxLength: 60 },
  );
  await fc.assert(
    fc.asyncProperty(events, async (list) => {
      context.mock.timers.enable({ apis: ['setTimeout'] });
      try {
        const life = new Life((ms) => context.mock.timers.tick(ms));
        for (const [event, which] of list) await life.happen(event, which);
        await life.end();
      } finally {
        context.mock.timers.reset();
      }
    }),
    { numRuns: ROUNDS },
  );
});
