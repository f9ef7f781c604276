/** Which snapshot a launch gets, on a host with a stand-in for Firecracker. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Restorable, Snapshots } from '../../../src/firerunner/snapshots/snapshots.ts';
import type { LaunchSpec } from '../../../src/protocol/runner.ts';
import { until } from '../../end-to-end/processes.ts';
import { Host } from '../firecracker/hosts.ts';

describe('snapshots of a firerunner', { timeout: 120_000 }, () => {
  let host: Host;
  let close: () => Promise<void>;
  const open = (openAtMost?: number): Snapshots => {
    const opened = host.openSnapshots(openAtMost);
    close = opened.close;
    return opened.snapshots;
  };
  const named = (name: string, handler: string | null = null): LaunchSpec => ({
    ...host.spec,
    function: { ...host.spec.function, name, handler },
  });
  const own = async (snapshots: Snapshots, spec: LaunchSpec): Promise<Restorable> => {
    const { restorable, reason } = await snapshots.forLaunch(spec);
    assert.equal(reason, null);
    assert.ok(restorable !== null && restorable.guest.holdsFunction);
    return restorable;
  };

  beforeEach(async () => {
    host = await Host.open();
  });
  afterEach(async () => {
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

  test('a launch waits for a snapshot that is in the store, also before its turn; not for one that has to be made', async () => {
    const first = host.openSnapshots();
    const specs = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => named(name));
    const last = specs.at(-1) ?? assert.fail();
    const made = Promise.all(specs.map((spec) => first.snapshots.prepare(spec)));
    assert.deepEqual(await first.snapshots.forLaunch(last), { restorable: null, reason: 'its snapshot is being made' });
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

  test('a snapshot that could not be restored is made again, once', async () => {
    const snapshots = open();
    const spec = named('f');
    await snapshots.prepare(spec);
    const first = await own(snapshots, spec);
    snapshots.distrust(first, 'it was torn');
    assert.equal((await snapshots.forLaunch(spec)).reason, 'it was torn');
    await until('it is made again', async () => (await snapshots.forLaunch(spec)).reason === null);
    const second = await own(snapshots, spec);
    assert.notEqual(second, first);
    snapshots.distrust(second, 'it was torn again');
    await snapshots.prepare(named('another'));
    assert.equal((await snapshots.forLaunch(spec)).reason, 'it was torn again');
  });

  test('a base layer that could not be restored is made again, once', async () => {
    const snapshots = open();
    const broken = named('broken', 'missing.handle');
    await assert.rejects(snapshots.prepare(broken), { name: 'FunctionLoadError' });
    const base = async (): Promise<Restorable | null> => {
      const { restorable, reason } = await snapshots.forLaunch(broken);
      assert.match(reason ?? '', /^the function does not load: /);
      assert.notEqual(restorable?.guest.holdsFunction, true);
      return restorable;
    };
    const first = await base();
    assert.ok(first !== null);
    snapshots.distrust(first, 'it was torn');
    assert.equal(await base(), null);
    await until('it is made again', async () => (await base()) !== null);
    const second = await base();
    assert.ok(second !== null && second !== first);
    snapshots.distrust(second, 'it was torn again');
    assert.equal(await base(), null);
    // Whoever needs one has it opened.
    await snapshots.prepare(named('f'));
    assert.ok((await base()) !== null);
  });
});
