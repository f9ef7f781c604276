/** Which snapshot a launch gets, on a host with a stand-in for Firecracker. */
import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { HeldSnapshot, LaunchSource, Restorable, Snapshots } from '../../../src/firerunner/snapshots/snapshots.ts';
import type { Layer, LayerKind } from '../../../src/firerunner/snapshots/layer.ts';
import { SnapshotStore } from '../../../src/firerunner/snapshots/store.ts';
import { Semaphore } from '../../../src/firerunner/semaphore.ts';
import type { LaunchSpec } from '../../../src/protocol/runner.ts';
import { until } from '../../end-to-end/processes.ts';
import { Host } from '../firecracker/hosts.ts';

describe('snapshots of a firerunner', { timeout: 200_000 }, () => {
  let host: Host;
  let close: () => Promise<void>;
  const releases: (() => void)[] = [];
  const open = (openAtMost?: number, turns?: Semaphore): Snapshots => {
    const opened = host.openSnapshots(openAtMost, turns);
    close = opened.close;
    return opened.snapshots;
  };
  const named = (name: string, handler: string | null = null): LaunchSpec => ({
    ...host.spec,
    function: { ...host.spec.function, name, handler },
  });
  const held = async (snapshots: Snapshots, spec: LaunchSpec): Promise<HeldSnapshot> => {
    const { snapshot, reason } = await snapshots.forLaunch(spec);
    assert.equal(reason, null);
    assert.ok(snapshot !== null && snapshot.restorable.guest.holdsFunction);
    releases.push(() => snapshot.release());
    return snapshot;
  };
  const own = async (snapshots: Snapshots, spec: LaunchSpec): Promise<Restorable> => {
    const { restorable, release } = await held(snapshots, spec);
    release();
    return restorable;
  };

  beforeEach(async () => {
    host = await Host.open();
  });
  afterEach(async () => {
    for (const release of releases.splice(0)) release();
    await close();
    await host.close();
  });

  test('of more than may be open, the one used least recently is closed, and opened again for its next launch', async () => {
    const snapshots = open(2);
    const [a, b, c] = [named('a'), named('b'), named('c')];
    for (const spec of [a, b, c]) await snapshots.prepare(spec);
    const [firstA, firstB] = [await own(snapshots, a), await own(snapshots, b)];
    // Prepared while two were open already.
    await own(snapshots, c);
    assert.equal(await own(snapshots, b), firstB);
    const secondA = await own(snapshots, a);
    assert.notEqual(secondA, firstA);
    const { vm, invoke } = await host.launch(secondA);
    assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
    await vm.kill();
  });

  test('one that was prepared twice is closed when both are forgotten, and its layer stays for whoever asks next', async () => {
    const snapshots = open();
    const spec = named('f');
    await snapshots.prepare(spec);
    let told = 0;
    await snapshots.prepare(spec, { onPrepared: () => (told += 1) });
    const first = await held(snapshots, spec);
    snapshots.forget(spec);
    assert.equal(await own(snapshots, spec), first.restorable);
    snapshots.forget(spec);
    snapshots.forget(spec);
    // A VM that is launched from it meanwhile has its files.
    const { vm, invoke } = await host.launch(first.restorable);
    assert.deepEqual(await invoke(1), { echo: 1, calls: 1 });
    await vm.kill();
    first.release();
    const again = await snapshots.prepare(spec);
    assert.deepEqual([told, again.builtMs], [1, null]);
    assert.notEqual(await own(snapshots, spec), first.restorable);
  });

  test('a launch waits for a snapshot that is in the store, also before its turn; for a base layer if its own has to be made', async () => {
    const first = host.openSnapshots();
    const specs = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => named(name));
    const last = specs.at(-1) ?? assert.fail();
    const made = Promise.all(specs.map((spec) => first.snapshots.prepare(spec)));
    const early = await first.snapshots.forLaunch(last);
    assert.deepEqual(
      [early.reason, early.snapshot?.restorable.guest.holdsFunction],
      ['its snapshot is being made', false],
    );
    early.snapshot?.release();
    await made;
    await first.close();

    const snapshots = open();
    const done: string[] = [];
    const all = specs.map((spec) => snapshots.prepare(spec).then(() => done.push(spec.function.name)));
    await own(snapshots, last);
    assert.ok(done.length < specs.length, `${done.join()} were before it`);
    await Promise.all(all);
    await own(snapshots, named('a'));
  });

  test('a snapshot that could not be restored is verified and opened again; refused again, it is made again', async () => {
    const snapshots = open();
    const spec = named('f');
    const store = new SnapshotStore(storeOf(spec));
    const digest = async (): Promise<string> => (await functionLayer(store)).digest;
    await snapshots.prepare(spec);
    const made = await digest();

    const first = await held(snapshots, spec);
    first.onRefused('it was torn');
    // Its files stay open for whoever holds them.
    first.restorable.hold()();
    first.release();
    const second = await held(snapshots, spec);
    assert.notEqual(second.restorable, first.restorable);
    assert.equal(await digest(), made, 'the layer was whole');

    second.onRefused('it was torn again');
    second.release();
    assert.equal(whyNot(await snapshots.forLaunch(spec)), 'its snapshot is being made');
    assert.equal(await digest(), made, 'the old layer is there until the new one is');
    await until('it is made again', async () => isOpen(await snapshots.forLaunch(spec)));
    assert.notEqual(await digest(), made);

    // A launch in between shows that it works.
    (await held(snapshots, spec)).onRestored();
    (await held(snapshots, spec)).onRefused('once more');
    await held(snapshots, spec);
  });

  test('one that is refused by every VMM is given up for a while, and its layer stays', async () => {
    const snapshots = open();
    const spec = named('f');
    await snapshots.prepare(spec);
    for (let refusal = 1; refusal <= 4; refusal += 1) {
      await until('it is open', async () => isOpen(await snapshots.forLaunch(spec)));
      (await held(snapshots, spec)).onRefused(`refused ${refusal} times`);
    }
    assert.equal(whyNot(await snapshots.forLaunch(spec)), 'refused 4 times');
    await functionLayer(new SnapshotStore(storeOf(spec)));
  });

  test('a layer that turns out to be damaged when it is opened again is made anew', async () => {
    const snapshots = open();
    const spec = named('f');
    await snapshots.prepare(spec);
    const { directory } = await functionLayer(new SnapshotStore(storeOf(spec)));
    appendFileSync(join(directory, 'pages'), 'x');
    (await held(snapshots, spec)).onRefused('it was torn');
    await until('it is made again', async () => isOpen(await snapshots.forLaunch(spec)));
    assert.ok((await new SnapshotStore(storeOf(spec)).verify()).every(({ problem }) => problem === null));
  });

  test('a base layer that could not be restored is opened again, and in the end made again', async () => {
    const snapshots = open();
    const broken = named('broken', 'missing.handle');
    await assert.rejects(snapshots.prepare(broken), { name: 'FunctionLoadError' });
    const base = async (): Promise<HeldSnapshot | null> => {
      const { snapshot, reason } = await snapshots.forLaunch(broken);
      assert.match(reason ?? '', /^the function does not load: /);
      assert.notEqual(snapshot?.restorable.guest.holdsFunction, true);
      return snapshot;
    };
    const refused = async (): Promise<Restorable> => {
      await until('it is open', async () => isThere(await base()));
      const snapshot = (await base()) ?? assert.fail();
      snapshot.onRefused('it was torn');
      snapshot.release();
      // Who needs it meanwhile waits for another one.
      const next = await base();
      next?.release();
      assert.notEqual(next?.restorable, snapshot.restorable);
      return snapshot.restorable;
    };
    const made = (await refused()).layer.digest;
    assert.equal((await refused()).layer.digest, made);
    assert.notEqual((await refused()).layer.digest, made);
  });

  test('a base layer that is refused by another launch stays open for a build that waits for its turn', async () => {
    const turns = new Semaphore(1);
    const snapshots = open(undefined, turns);
    await snapshots.prepare(named('a'));
    const release = await turns.acquire();
    const prepared = snapshots.prepare(named('b'));
    // A launch of the same function restores the base.
    const { snapshot: base } = await snapshots.forLaunch(named('b'));
    assert.equal(base?.restorable.guest.holdsFunction, false);
    base.onRefused('it was torn');
    base.release();
    release();
    await prepared;
    await own(snapshots, named('b'));
  });

  /** The base layer, which a launch of a function gets whose own snapshot is being made. */
  const baseFor = async (snapshots: Snapshots, spec: LaunchSpec): Promise<HeldSnapshot> => {
    const { snapshot } = await snapshots.forLaunch(spec);
    assert.ok(snapshot !== null && !snapshot.restorable.guest.holdsFunction);
    return snapshot;
  };

  test('a base layer that another firerunner has made again is taken as it is, and stays in the store', async () => {
    const snapshots = open();
    const [a, b] = [named('a'), named('b')];
    await snapshots.prepare(a);
    const store = new SnapshotStore(storeOf(a));
    const digestOfBase = async (): Promise<string> => (await layersOf(store, 'base'))[0]?.digest ?? assert.fail();
    const before = await digestOfBase();

    const other = host.openSnapshots();
    const broken = named('broken', 'missing.handle');
    await assert.rejects(other.snapshots.prepare(broken), { name: 'FunctionLoadError' });
    for (let refusal = 1; refusal <= 2; refusal += 1) {
      const base = await baseFor(other.snapshots, broken);
      base.onRefused('it was torn');
      base.release();
    }
    (await baseFor(other.snapshots, broken)).release();
    await other.close();
    const made = await digestOfBase();
    assert.notEqual(made, before);

    await snapshots.prepare(b);
    await own(snapshots, b);
    assert.equal(await digestOfBase(), made);
    assert.ok((await store.verify()).every(({ problem }) => problem === null));
  });

  test('a VM whose snapshot was closed since falls idle: nothing is recorded, and nothing fails', async () => {
    const snapshots = open();
    const spec = named('f');
    await snapshots.prepare(spec);
    const restorable = await own(snapshots, spec);
    const { vm } = await host.launch(restorable);
    const again = await held(snapshots, spec);
    again.onRefused('it was torn');
    again.release();
    await restorable.recordWorkingSet(vm.machine);
    await vm.kill();
  });

  test('a full disk behind the memory of a VM that is built from is the host’s, a refusal Firecracker’s, unless it lacks something', async () => {
    const at = 'PUT /snapshot/create';
    const cases = [
      [{ at, do: 'signal', signal: 'SIGBUS' }, 'HostError', 1000],
      [{ at, do: 'refuse', text: 'cannot create the file: No space left on device (os error 28)' }, 'HostError', 1000],
      [{ at, do: 'refuse', text: 'the device is busy' }, 'LaunchError', 10_000],
      [{ at, do: 'signal', signal: 'SIGSEGV' }, 'LaunchError', 10_000],
    ] as const;
    const snapshots = open();
    for (const [fault, name, retryInMs] of cases) {
      host.setFault(fault);
      const retries: number[] = [];
      const onFailed = (_error: unknown, ms: number): void => void retries.push(ms);
      const spec = named(`f${cases.findIndex(([other]) => other === fault)}`);
      await assert.rejects(snapshots.prepare(spec, { onFailed }), { name });
      assert.deepEqual(retries, [retryInMs], JSON.stringify(fault));
    }
    host.setFault(null);
  });

  test('what the host lacked is tried again by itself', async () => {
    const snapshots = open();
    const spec = named('f');
    const failures: number[] = [];
    let prepared = 0;
    host.setFault({ at: 'start', do: 'signal', signal: 'SIGKILL' });
    const observer = {
      onFailed: (_error: unknown, retryInMs: number) => void failures.push(retryInMs),
      onPrepared: () => (prepared += 1),
    };
    await assert.rejects(snapshots.prepare(spec, observer), { name: 'HostError' });
    assert.deepEqual(failures, [1000]);
    assert.match(whyNot(await snapshots.forLaunch(spec)) ?? '', /^its snapshot cannot be made: .*SIGKILL/);
    host.setFault(null);
    await until('it is made', () => prepared === 1, 30_000);
    await own(snapshots, spec);
  });
});

function isThere(snapshot: HeldSnapshot | null): boolean {
  snapshot?.release();
  return snapshot !== null;
}

function whyNot({ snapshot, reason }: LaunchSource): string | null {
  snapshot?.release();
  return reason;
}

function isOpen(source: LaunchSource): boolean {
  return whyNot(source) === null;
}

function storeOf({ snapshots }: LaunchSpec): string {
  return snapshots?.kind === 'store' ? snapshots.directory : assert.fail();
}

/** The one function layer of a store. */
async function functionLayer(store: SnapshotStore): Promise<Layer> {
  const [layer, ...others] = await layersOf(store, 'function');
  assert.equal(others.length, 0);
  return layer ?? assert.fail();
}

async function layersOf(store: SnapshotStore, kind: LayerKind): Promise<Layer[]> {
  const names = (await store.list()).map(({ name }) => name).filter((name) => name.startsWith(`${kind}-`));
  return Promise.all(names.map((name) => SnapshotStore.openDirectory(join(store.directory, name))));
}
