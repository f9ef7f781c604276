/** Two hundred VMs at once, jailed where that is possible: nothing is left of them afterwards. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Semaphore } from '../../../src/firerunner/semaphore.ts';
import { childrenOf, commandOf, until } from '../../end-to-end/processes.ts';
import { Host } from './hosts.ts';
import { leftIn, makeChrootBase } from './jails.ts';

const VMS = 200;
const PRESTARTED = 4;
const MEMORY_CGROUP = '/sys/fs/cgroup/memory/snapfaas';

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
const groups = (): readonly string[] =>
  existsSync(MEMORY_CGROUP)
    ? readdirSync(MEMORY_CGROUP, { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? [one.name] : []))
    : [];

describe('many VMs', { timeout: 600_000 }, () => {
  test(`${VMS} in parallel leave no descriptor, process, directory, user or cgroup`, async () => {
    const isRoot = process.getuid?.() === 0;
    const base = makeChrootBase();
    const cgroup = existsSync('/sys/fs/cgroup/memory/cgroup.procs') ? { 'memory.limit_in_bytes': '1073741824' } : {};
    const jailer = {
      ...{ path: null, firstUid: 400_000, uidCount: VMS + PRESTARTED + 1, gid: null, chrootBase: base, cgroup },
    };
    const host = await Host.open({ prestarted: PRESTARTED, ...(isRoot ? { jailer } : {}) });
    const snapshot = await host.prepare();
    // Whatever the project's own directory is called: the bundler of the tests is a child too, and named by it.
    const marks = [host.directory, base, 'bundle.mjs'];
    const isOurs = (pid: number): boolean => commandOf(pid).some((word) => marks.some((mark) => word.includes(mark)));
    try {
      const first = await host.launch(snapshot.restorable);
      assert.deepEqual(await first.invoke(0), { echo: 0, calls: 1 });
      await first.vm.kill();
      await host.untilWaiting(PRESTARTED);
      const before = openDescriptors();

      const starts = new Semaphore(4);
      const vms = await Promise.all(
        Array.from({ length: VMS }, () => starts.run(() => host.launch(snapshot.restorable))),
      );
      assert.equal(new Set(vms.map(({ vm }) => vm.machine.pid)).size, VMS);
      for (const [index, answer] of (await Promise.all(vms.map(({ invoke }, index) => invoke(index)))).entries()) {
        assert.deepEqual(answer, { echo: index, calls: 1 });
      }
      assert.ok(childrenOf(process.pid).filter(isOurs).length > VMS, 'each is seen to run, and a janitor');
      assert.ok(openDescriptors() >= before + VMS, 'each has descriptors while it runs');
      if (isRoot) assert.ok(readdirSync(`${base}/firecracker`).length >= VMS);

      await Promise.all(vms.map(({ vm }) => vm.kill()));
      await until('only those that wait are left', () => host.vmms().length === PRESTARTED);
      await until('descriptors are closed', () => openDescriptors() <= before);
      if (isRoot) assert.equal(readdirSync(`${base}/firecracker`).length, PRESTARTED);
    } finally {
      await snapshot.close();
      await host.close();
    }
    await until('all processes have ended', () => !childrenOf(process.pid).some(isOurs));
    assert.deepEqual(leftIn(base), []);
    assert.deepEqual(groups(), []);
    rmSync(base, { recursive: true });
  });
});
