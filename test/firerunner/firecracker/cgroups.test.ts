/** Which hierarchy the jailer is sent to, on hosts with cgroup v2, v1, and both. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { cgroupPlan } from '../../../src/firerunner/firecracker/cgroups.ts';

const noPids =
  process.getuid?.() === 0 && existsSync('/sys/fs/cgroup/pids/cgroup.procs')
    ? false
    : 'no cgroup v1 hierarchy for pids, or no root';

describe('cgroups', () => {
  let directory: string;
  const at = (name: string): string => join(directory, name);
  /** A host with these mounts. */
  const host = (unified: string | null, ...v1: readonly string[]): string => {
    const lines = v1.map((controller) => `cgroup ${at(controller)} cgroup rw,relatime,${controller} 0 0`);
    if (unified !== null) {
      mkdirSync(at('unified'));
      writeFileSync(at('unified/cgroup.controllers'), `${unified}\n`);
      lines.push(`cgroup2 ${at('unified')} cgroup2 rw,nosuid 0 0`);
    }
    writeFileSync(at('mounts'), `${['proc /proc proc rw 0 0', ...lines].join('\n')}\n`);
    return at('mounts');
  };

  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'snapfaas-cgroups-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  test('none is made without limits', async () => {
    assert.equal(await cgroupPlan({}, host('memory cpu')), null);
  });

  test('version 2 where it has the controllers', async () => {
    const plan = await cgroupPlan({ 'memory.max': '512M', 'cpu.max': '50000 100000' }, host('cpu memory', 'memory'));
    assert.deepEqual(plan?.jailerArguments, [
      ...['--cgroup-version', '2', '--parent-cgroup', 'snapfaas'],
      ...['--cgroup', 'memory.max=512M', '--cgroup', 'cpu.max=50000 100000'],
    ]);
    assert.deepEqual(plan.parents, [at('unified/snapfaas')]);
  });

  test('version 1 where the controllers are there', async () => {
    const mounts = host('', 'memory', 'cpu');
    for (const file of ['memory/snapfaas/memory.limit_in_bytes', 'cpu/snapfaas/cpu.shares']) {
      mkdirSync(dirname(at(file)), { recursive: true });
      writeFileSync(at(file), '');
    }
    const plan = await cgroupPlan({ 'memory.limit_in_bytes': '268435456', 'cpu.shares': '512' }, mounts);
    assert.deepEqual(plan?.jailerArguments.slice(0, 2), ['--cgroup-version', '1']);
    assert.deepEqual(plan.parents, [at('memory/snapfaas'), at('cpu/snapfaas')]);
  });

  test('names of version 2 are not written to version 1', async () => {
    const mounts = host('', 'memory');
    mkdirSync(at('memory/snapfaas'), { recursive: true });
    writeFileSync(at('memory/snapfaas/memory.limit_in_bytes'), '');
    await assert.rejects(cgroupPlan({ 'memory.max': '1G' }, mounts), {
      message: /of version 1, in which `memory` has no `memory\.max`; use version 1’s names/,
    });
    assert.notEqual(await cgroupPlan({ 'memory.limit_in_bytes': '1' }, mounts), null);
  });

  test('what still runs in a cgroup of version 2 is killed before it is removed', async () => {
    const plan = await cgroupPlan({ 'memory.max': '1G' }, host('memory'));
    mkdirSync(at('unified/snapfaas/vm-1'), { recursive: true });
    writeFileSync(at('unified/snapfaas/vm-1/cgroup.kill'), '');
    // A directory with a file in it stays: what was written to that can be read.
    await plan?.remove('vm-1');
    assert.equal(readFileSync(at('unified/snapfaas/vm-1/cgroup.kill'), 'utf8'), '1');
  });

  test('a cgroup without cgroup.kill, of version 1 or an older kernel, is removed as it is', async () => {
    const plan = await cgroupPlan({ 'memory.max': '1G' }, host('memory'));
    mkdirSync(at('unified/snapfaas/vm-1'), { recursive: true });
    await plan?.remove('vm-1');
    assert.deepEqual(readdirSync(at('unified/snapfaas')), []);
  });

  test('a file of version 1 that only cgroups below the root have is found', { skip: noPids }, async () => {
    const plan = await cgroupPlan({ 'pids.max': '100' });
    assert.deepEqual(plan?.parents, ['/sys/fs/cgroup/pids/snapfaas']);
    await assert.rejects(cgroupPlan({ 'pids.most': '100' }), { message: /`pids` has no `pids\.most`/ });
    await plan.close();
    assert.equal(existsSync('/sys/fs/cgroup/pids/snapfaas'), false);
  });

  test('a hierarchy that cannot be written to is named', async () => {
    writeFileSync(at('memory'), '');
    await assert.rejects(cgroupPlan({ 'memory.limit_in_bytes': '1' }, host(null, 'memory')), {
      name: 'HostError',
      message: /no cgroup can be made in .*\/memory: /,
    });
  });

  test('a controller that the host does not have is named', async () => {
    await assert.rejects(cgroupPlan({ 'io.max': '8:0 rbps=1' }, host('memory')), {
      message: /no cgroup controller `io`, which `jailer: \{cgroup: …\}` asks for/,
    });
  });

  test('removal leaves what is not there alone, and takes the VM’s groups', async () => {
    const plan = await cgroupPlan({ 'memory.max': '1' }, host('memory'));
    mkdirSync(at('unified/snapfaas/vm-1'), { recursive: true });
    await plan?.remove('vm-1');
    await plan?.remove('vm-2');
    assert.throws(() => rmSync(at('unified/snapfaas/vm-1')), { code: 'ENOENT' });
  });
});
