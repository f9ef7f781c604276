/** The contract on a real Firecracker, where there is one and a guest runs under it: without jails, and in them. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DirectoriesOnDemand } from '../../src/firerunner/firecracker/open.ts';
import { openRunDirectory } from '../../src/firerunner/run-directory.ts';
import { ProbeCache } from '../../src/firerunner/probes/cache.ts';
import { probeFirecracker } from '../../src/firerunner/firecracker/probe.ts';
import type { ProbeResult } from '../../src/firerunner/probes/result.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import type { JailerSettings } from '../../src/protocol/vmm-settings.ts';
import { makeChrootBase, untilNothingIsLeftIn } from '../firerunner/firecracker/jails.ts';
import { IMAGES } from '../support/snapctr.ts';
import { contract } from './contract.ts';
import { faults } from './faults.ts';

const IS_REQUIRED = process.env['SNAPFAAS_REQUIRE_FIRECRACKER'] === '1';
const FIRST_UID = 300_000;
const LAST_UID = 300_099;

/** Of the `firecracker` in PATH, and of the jailer beside it. */
async function probeOf(jailer: JailerSettings | null): Promise<ProbeResult> {
  const base = mkdtempSync(join(tmpdir(), 'snapfaas-real-'));
  const directory = await openRunDirectory({ SNAPFAAS_RUN_DIR: base });
  const directories = new DirectoriesOnDemand(jailer, directory.path, () => undefined);
  try {
    const guest = { kernelPath: join(IMAGES, 'vmlinux'), initrdPath: join(IMAGES, 'initrd.cpio') };
    const cache = new ProbeCache('renew', join(base, 'probes'));
    return await probeFirecracker({ ...NO_SETTINGS, jailer }, guest, directories, cache);
  } finally {
    await directories.close();
    directory.close();
    rmSync(base, { recursive: true, force: true });
  }
}

/** @param what as in "a real Firecracker". */
function testWhere(result: ProbeResult, what: string, isRequired: boolean, tests: () => void): void {
  const reason = `no ${what} to test with: ${result.finding}`;
  if (result.usable) tests();
  else if (isRequired) test(`a ${what}`, () => assert.fail(reason));
  else test(`a ${what}`, { skip: reason }, () => undefined);
}

testWhere(await probeOf(null), 'real Firecracker', IS_REQUIRED, () => {
  contract('firecracker', 'cold', ['firecracker: {prestarted: 0}']);
  contract('firecracker', 'restored', ['firecracker: {prestarted: 2}']);
  faults('firecracker', ['firecracker: {prestarted: 0}']);
});

const chrootBase = makeChrootBase();
after(async () => {
  await untilNothingIsLeftIn(chrootBase);
  rmSync(chrootBase, { recursive: true });
});
const jailed = await probeOf({
  ...{ path: null, firstUid: FIRST_UID, uidCount: LAST_UID - FIRST_UID + 1, gid: null, chrootBase, cgroup: {} },
});

testWhere(jailed, 'real Firecracker in jails', IS_REQUIRED && process.getuid?.() === 0, () => {
  const jailer = `jailer: {uid_range: ${FIRST_UID}-${LAST_UID}, chroot_base: ${chrootBase}}`;
  contract('firecracker', 'cold', ['firecracker: {prestarted: 0}', jailer]);
  contract('firecracker', 'restored', ['firecracker: {prestarted: 2}', jailer]);
  faults('firecracker', ['firecracker: {prestarted: 0}', jailer]);
});
