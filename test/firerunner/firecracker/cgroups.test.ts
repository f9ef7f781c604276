/** Which hierarchy the jailer is sent to, on hosts with cgroup v2, v1, and both. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { cgroupPlan } from '../../../src/firerunner/firecracker/cgroups.ts';

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
    for (const file of ['memory/memory.limit_in_bytes', 'cpu/cpu.shares']) {
      mkdirSync(dirname(at(file)));
      writeFileSync(at(file), '');
    }
    const plan = await cgroupPlan({ 'memory.limit_in_bytes': '268435456', 'cpu.shares': '512' }, mounts);
    assert.equal(plan?.version, 1);
    assert.deepEqual(plan.parents, [at('memory/snapfaas'), at('cpu/snapfaas')]);
  });

  test('names of version 2 are not written to version 1', async () => {
    const mounts = host('', 'memory');
    mkdirSync(at('memory'));
    writeFileSync(at('memory/memory.limit_in_bytes'), '');
    await assert.rejects(cgroupPlan({ 'memory.max': '1G' }, mounts), {
      message: /of version 1, in which `memory` has no `memory\.max`; use version 1’s names/,
    });
    assert.equal((await cgroupPlan({ 'memory.limit_in_bytes': '1' }, mounts))?.version, 1);
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
