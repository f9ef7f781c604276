/** The contract on a real Firecracker, where there is one and a guest runs under it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { HomesOnDemand } from '../../src/firerunner/firecracker/open.ts';
import { openRunDirectory } from '../../src/firerunner/run-directory.ts';
import { VerdictCache } from '../../src/firerunner/verdicts/cache.ts';
import { firecrackerVerdict } from '../../src/firerunner/verdicts/firecracker.ts';
import type { Verdict } from '../../src/firerunner/verdicts/verdict.ts';
import { NO_SETTINGS } from '../../src/firerunner/vmm-settings.ts';
import { IMAGES } from '../support/snapctr.ts';
import { contract } from './contract.ts';
import { faults } from './faults.ts';

const IS_REQUIRED = process.env['SNAPFAAS_REQUIRE_FIRECRACKER'] === '1';

/** Of the `firecracker` in PATH. */
async function verdictOnFirecracker(): Promise<Verdict> {
  const base = mkdtempSync(join(tmpdir(), 'snapfaas-real-'));
  const directory = openRunDirectory({ SNAPFAAS_RUN_DIR: base });
  try {
    const guest = { kernelPath: join(IMAGES, 'vmlinux'), initrdPath: join(IMAGES, 'initrd.cpio') };
    return await firecrackerVerdict(
      NO_SETTINGS,
      guest,
      new HomesOnDemand(null, directory.path, () => undefined),
      new VerdictCache('renew', join(base, 'verdicts')),
    );
  } finally {
    directory.close();
    rmSync(base, { recursive: true, force: true });
  }
}

const verdict = await verdictOnFirecracker();
const reason = `no real Firecracker to test with: ${verdict.finding}`;

if (verdict.usable) {
  contract('firecracker', 'cold', ['firecracker: {prestarted: 0}']);
  contract('firecracker', 'restored', ['firecracker: {prestarted: 2}']);
  faults('firecracker', ['firecracker: {prestarted: 0}']);
} else if (IS_REQUIRED) {
  test('a real Firecracker', () => assert.fail(reason));
} else {
  test('a real Firecracker', { skip: reason }, () => undefined);
}
