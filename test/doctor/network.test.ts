/** The check of the network: taps for real, in a network namespace. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type { Finding } from '../../src/doctor/check.ts';
import { networkCheck } from '../../src/doctor/checks/network.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import { mayAttach } from '../../src/network/taps.ts';
import type { JailerSettings, VmmSettings } from '../../src/protocol/vmm-settings.ts';
import { createNamespace, namespaceProblem, type NetworkNamespace } from '../support/network-namespace.ts';
import { assertFinding, createHost } from './context.ts';

const FIXTURE = join(import.meta.dirname, 'fixtures', 'network-check.ts');
const GROUP = 4321;
const problem = namespaceProblem();
if (problem !== null) process.stderr.write(`the check of the network is not tested: ${problem}\n`);

test('network: without one there is nothing to check', async () => {
  const host = createHost();
  await assertFinding(networkCheck.run(host.context()), 'skipped', /not asked for/);
  host.remove();
});

test('a tap with a user and a group is for those who are both, one with neither for anybody', () => {
  const user = { uid: 7, gids: [8, 9] };
  for (const [uid, gid, isOpen] of [
    [null, null, true],
    [7, null, true],
    [8, null, false],
    [null, 9, true],
    [null, 7, false],
    [7, 9, true],
    [7, 7, false],
    [8, 9, false],
  ] as const) {
    assert.equal(mayAttach({ uid, gid }, user), isOpen, `user ${uid}, group ${gid}`);
  }
});

describe('network check', { skip: problem ?? false, timeout: 60_000 }, () => {
  let namespace: NetworkNamespace;
  before(() => (namespace = createNamespace()));
  after(() => namespace.remove());
  beforeEach(() => {
    for (const [index, name] of ['sf0', 'sf1'].entries()) {
      ip('tuntap', 'add', 'dev', name, 'mode', 'tap', 'user', '1234');
      ip('address', 'add', `10.200.0.${2 * index}/31`, 'dev', name);
      ip('link', 'set', 'dev', name, 'up');
    }
  });
  afterEach(() => {
    for (const name of ['sf0', 'sf1']) ip('link', 'delete', 'dev', name);
  });

  const ip = (...args: readonly string[]): void => void namespace.run('ip', ...args);
  const check = (settings: Partial<VmmSettings> = {}, prefix: readonly string[] = []): Finding => {
    const network = { taps: ['sf0', 'sf1'], subnet: '10.200.0.0/24', dns: null };
    const request = JSON.stringify({ ...NO_SETTINGS, network, ...settings });
    const { stdout, stderr } = namespace.run('env', ...prefix, process.execPath, '--import', 'tsx', FIXTURE, request);
    assert.notEqual(stdout, '', stderr);
    return JSON.parse(stdout) as Finding;
  };
  const jailer = (gid: number | null): JailerSettings => ({
    ...{ path: null, firstUid: 300_000, uidCount: 10, gid, chrootBase: '/srv/jailer', cgroup: {} },
  });
  const renew = (...owner: readonly string[]): void => {
    ip('link', 'delete', 'dev', 'sf0');
    ip('tuntap', 'add', 'dev', 'sf0', 'mode', 'tap', ...owner);
    ip('address', 'add', '10.200.0.0/31', 'dev', 'sf0');
    ip('link', 'set', 'dev', 'sf0', 'up');
  };

  test('taps that are up, with their addresses, serve root', async () => {
    await assertFinding(check(), 'ok', /^2 tap devices, 10\.200\.0\.0\/24$/);
  });

  test('a tap that is down, without its address, no tap, or missing: each is named', async () => {
    ip('link', 'set', 'dev', 'sf0', 'down');
    ip('address', 'flush', 'dev', 'sf1');
    await assertFinding(
      check(),
      'warning',
      /not ready: sf0 down, sf1 has not the address 10\.200\.0\.2\/31; functions with a network/,
      /bring up what is down, as root: snapctr network up --config FILE$/,
    );
    ip('link', 'delete', 'dev', 'sf1');
    await assertFinding(check(), 'warning', /sf0 down, sf1 missing;/, /network up/);
  });

  test('a tap of another user serves nobody without the right to change networks', async () => {
    const as = (uid: number): readonly string[] => [
      ...['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin', '--reuid', String(uid), '--clear-groups'],
    ];
    const root = check({}, as(0));
    await assertFinding(root, 'warning', /may not use: sf0 is for user 1234, sf1 is for user 1234$/, /down.*--user 0$/);
  });

  test('jailed VMs use taps of their common group alone', async () => {
    const remedy = /^make them anew, as root: snapctr network down --config FILE, then .* up .*--group 4321$/;
    await assertFinding(check({ jailer: jailer(GROUP) }), 'warning', /VMs in jails.*sf0 is for user 1234/, remedy);
    ip('link', 'delete', 'dev', 'sf1');
    ip('tuntap', 'add', 'dev', 'sf1', 'mode', 'tap', 'group', String(GROUP));
    ip('address', 'add', '10.200.0.2/31', 'dev', 'sf1');
    ip('link', 'set', 'dev', 'sf1', 'up');
    renew('group', String(GROUP));
    await assertFinding(check({ jailer: jailer(GROUP) }), 'ok', /2 tap devices/);
    await assertFinding(check({ jailer: jailer(null) }), 'warning', /sf1 is for group 4321/, /^give VMs a group by/);
    // The kernel asks for both.
    renew('user', '1234', 'group', String(GROUP));
    await assertFinding(
      check({ jailer: jailer(GROUP) }),
      'warning',
      /may not use: sf0 is for user 1234 and group 4321$/,
      remedy,
    );
  });
});
