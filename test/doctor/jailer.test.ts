/** The check of the jailer: programs that only say their versions, and results that the test gives. */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Finding } from '../../src/doctor/check.ts';
import { jailerCheck } from '../../src/doctor/checks/jailer.ts';
import type { VmmProbe } from '../../src/firerunner/probes/result.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import type { JailerSettings } from '../../src/protocol/vmm-settings.ts';
import { createStandIns, type StandIns } from '../support/stand-in.ts';
import { assertFinding, createHost, type TestHost } from './context.ts';

describe('doctor', { timeout: 30_000 }, () => {
  const path = process.env['PATH'];
  let host: TestHost;
  let bin: StandIns;
  beforeEach(() => {
    host = createHost();
    bin = createStandIns();
  });
  afterEach(() => {
    process.env['PATH'] = path;
    host.remove();
    bin.remove();
  });

  const jailer = (settings: Partial<JailerSettings> = {}): JailerSettings => ({
    path: null,
    firstUid: 200_000,
    uidCount: 100,
    gid: null,
    chrootBase: host.root,
    cgroup: {},
    ...settings,
  });

  test('jailer: what is installed, and whether a guest ran', async () => {
    await assertFinding(jailerCheck.run(host.context()), 'skipped', /not asked for/);
    const check = (settings: Partial<JailerSettings> = {}): Finding | Promise<Finding> =>
      jailerCheck.run(
        host.context({
          settings: { ...NO_SETTINGS, jailer: jailer(settings) },
          snapshotDirectory: join(host.root, 'snapshots'),
        }),
      );
    process.env['PATH'] = bin.directory;
    await assertFinding(check(), 'warning', /firecracker is not in PATH/, /install/);
    bin.add('firecracker', 'echo "Firecracker v1.16.1"');
    await assertFinding(check(), 'warning', /^jailer is neither/, /release/);
    bin.add('jailer', 'echo "Jailer v1.16.1"');
    await assertFinding(check(), 'warning', /no guest is at hand|needs root|\/dev\/kvm/, /./);
  });

  test('jailer: without root it says that jails were not tried', async () => {
    bin.add('firecracker', 'echo "Firecracker v1.16.1"');
    bin.add('jailer', 'echo "Jailer v1.16.1"');
    process.env['PATH'] = bin.directory;
    const { getuid } = process;
    process.getuid = () => 1000;
    try {
      const context = host.context({ settings: { ...NO_SETTINGS, jailer: jailer() } });
      await assertFinding(jailerCheck.run(context), 'warning', /^jails were not tried: .*root, .*user 1000/, /as root/);
    } finally {
      if (getuid !== undefined) process.getuid = getuid;
    }
  });

  test('jailer: once a guest ran in a jail, users that nobody has, and one file system', async () => {
    const usable: VmmProbe = { usable: true, finding: 'it ran', remedy: null, accelerator: null };
    const installation = { path: '/bin/firecracker', version: '1.16.1', jailerPath: '/bin/jailer' };
    const check = (
      settings: Partial<JailerSettings> = {},
      kernelPath = host.write('kernel', 'x'),
    ): Promise<Finding> => {
      const context = host.context({
        settings: { ...NO_SETTINGS, jailer: jailer(settings) },
        guest: { kernelPath, initrdPath: kernelPath },
        snapshotDirectory: join(host.root, 'snapshots'),
      });
      context.probes.probe = () => Promise.resolve(usable);
      context.probes.firecrackerSearch = () => Promise.resolve({ installation, result: null });
      return Promise.resolve(jailerCheck.run(context));
    };
    await assertFinding(check(), 'ok', /^\/bin\/jailer, jails in .*: it ran$/);
    await assertFinding(check({ firstUid: 0 }), 'warning', /would be 0 to 99/, /from 1 to 4294967294/);
    host.write('/etc/passwd', 'root:x:0:0::/root:/bin/sh\neve:x:200050:100::/:/bin/sh\n');
    await assertFinding(check(), 'warning', /has eve there/, /without users of the host/);
    // Nothing can be written to /proc, and nothing is.
    const elsewhere = check({ firstUid: 300_000, chrootBase: '/proc' });
    await assertFinding(elsewhere, 'warning', /another file system .* copied there, once .*alone take 1 MiB/, /on one/);
    await assertFinding(
      check({ firstUid: 300_000, chrootBase: '/proc' }, host.write('kernel', '')),
      'warning',
      /copied there, once for each start$/,
      /on one/,
    );
  });
});
