/** `snapctr network`: taps for real, in a network namespace. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { createNamespace, namespaceProblem, type NetworkNamespace } from '../support/network-namespace.ts';
import { SNAPCTR } from '../support/snapctr.ts';

const problem = namespaceProblem();
if (problem !== null) process.stderr.write(`snapctr network is not tested: ${problem}\n`);

interface Shown {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly addr_info: readonly { readonly family: string; readonly local: string; readonly prefixlen: number }[];
}

describe('snapctr network', { skip: problem ?? false, timeout: 60_000 }, () => {
  let namespace: NetworkNamespace;
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-taps-'));
  const config = join(directory, 'controller.yaml');

  before(() => {
    namespace = createNamespace();
  });
  beforeEach(() => {
    configure('sf{0..1}', '10.200.0.0/24');
    network('down');
  });
  after(() => {
    namespace.remove();
    rmSync(directory, { recursive: true });
  });

  /** The rest of the controller's file is not needed, and not there. */
  const configure = (taps: string, subnet: string): void =>
    writeFileSync(config, `network:\n  taps: ${taps}\n  subnet: ${subnet}\n`);
  const network = (command: string, ...flags: readonly string[]): ReturnType<NetworkNamespace['run']> =>
    namespace.run(process.execPath, SNAPCTR, 'network', command, '--config', config, ...flags);
  const interfaces = (): readonly Shown[] =>
    JSON.parse(namespace.run('ip', '-json', 'address', 'show').stdout) as readonly Shown[];
  const addressesOf = (name: string): readonly string[] =>
    (interfaces().find(({ ifname }) => ifname === name)?.addr_info ?? []).map((one) => `${one.local}/${one.prefixlen}`);

  test('does not take the devices of another namespace for its own', () => {
    assert.equal(network('up').status, 0);
    // Unlike `ip netns exec`, this leaves /sys as it was.
    const inside = [`--net=/run/netns/${namespace.name}`, process.execPath, SNAPCTR];
    const { status, stderr } = spawnSync('nsenter', [...inside, 'network', 'status', '--config', config], {
      encoding: 'utf8',
    });
    assert.equal(status, 1, stderr);
    assert.match(stderr, /^snapctr: \/sys shows the devices of another network namespace .*ip netns exec/m);
  });

  test('makes taps with an address each, up, and without one that the kernel chose', () => {
    const up = network('up');
    assert.equal(up.status, 0, up.stderr);
    assert.match(up.stderr, /^sf0: made for root alone, 10\.200\.0\.0\/31 set, brought up$/m);
    assert.match(up.stderr, /masquerade/);
    const taps = interfaces().filter(({ ifname }) => ifname.startsWith('sf'));
    assert.deepEqual(
      taps.map(({ ifname }) => [ifname, addressesOf(ifname)]),
      [
        ['sf0', ['10.200.0.0/31']],
        ['sf1', ['10.200.0.2/31']],
      ],
    );
    assert.ok(taps.every(({ flags }) => flags.includes('UP')));
    assert.equal(namespace.run('cat', '/proc/sys/net/ipv4/conf/sf1/rp_filter').stdout, '1\n', 'sources are checked');
  });

  test('done again, it changes nothing and says so', () => {
    network('up');
    const before = namespace.run('ip', 'address', 'show').stdout;
    const again = network('up');
    assert.match(again.stderr, /^sf0: is as it should be\nsf1: is as it should be$/m);
    assert.equal(namespace.run('ip', 'address', 'show').stdout, before);
  });

  test('mends what is missing or other than configured', () => {
    network('up');
    namespace.run('ip', 'link', 'delete', 'sf1');
    namespace.run('ip', 'link', 'set', 'sf0', 'down');
    configure('sf{0..1}', '10.201.0.0/24');
    assert.match(network('up').stderr, /^sf0: 10\.200\.0\.0\/31 removed, 10\.201\.0\.0\/31 set, brought up$/m);
    assert.deepEqual(addressesOf('sf1'), ['10.201.0.2/31']);
    assert.equal(network('status').status, 0);
  });

  test('makes them for a user or a group, and not for another one afterwards', () => {
    assert.match(network('up', '--user', '1234').stderr, /^sf0: made for user 1234,/m);
    const other = network('up', '--group', 'root');
    assert.equal(other.status, 1);
    assert.match(other.stderr, /sf0 is there, for user 1234 and not for group 0; remove it first/);
    const unknown = network('up', '--user', 'nobody-of-that-name');
    assert.match(unknown.stderr, /there is no user "nobody-of-that-name"/);
  });

  test('a tap for root alone asks for root; one without an owner, made by others, is for anybody', () => {
    network('up');
    assert.equal(namespace.run('cat', '/sys/class/net/sf0/owner').stdout, '0\n');
    namespace.run('ip', 'link', 'delete', 'sf0');
    namespace.run('ip', 'tuntap', 'add', 'dev', 'sf0', 'mode', 'tap');
    assert.match(network('status').stdout, /^sf0 .*, for anybody$/m);
    const again = network('up');
    assert.equal(again.status, 1);
    assert.match(again.stderr, /sf0 is there, for anybody and not for root alone; remove it first/);
  });

  test('a user and a group together are bad usage: the kernel would ask for both', () => {
    const both = network('up', '--user', '1234', '--group', '1234');
    assert.equal(both.status, 2);
    assert.match(both.stderr, /'--user <user>' cannot be used with option '--group <group>'/);
    assert.match(network('up', '--group', '1234').stderr, /^sf0: made for group 1234,/m);
  });

  test('shows what is there and what is not, and status 1 until all are ready', () => {
    const missing = network('status');
    assert.equal(missing.status, 1);
    assert.match(missing.stdout, /^sf1 +host 10\.200\.0\.2\/31 +guest 10\.200\.0\.3 02:00:0a:c8:00:03 +missing$/m);
    network('up');
    namespace.run('ip', 'link', 'set', 'sf1', 'down');
    const down = network('status');
    assert.equal(down.status, 1);
    assert.match(down.stdout, /^sf0 .* free, for root alone\nsf1 .* down, for root alone$/m);
    network('up');
    assert.equal(network('status').status, 0);
  });

  test('removes them, and says what was not there', () => {
    network('up');
    namespace.run('ip', 'link', 'delete', 'sf1');
    const down = network('down');
    assert.deepEqual([down.status, down.stderr], [0, 'sf0: removed\nsf1: was not there\n']);
    assert.deepEqual(
      interfaces().map(({ ifname }) => ifname),
      ['lo'],
    );
  });

  test('leaves an interface alone that is no tap', () => {
    configure('lo', '10.200.0.0/24');
    for (const command of ['up', 'down']) {
      const refused = network(command);
      assert.equal(refused.status, 1);
      assert.match(refused.stderr, /lo is a network interface of this host, and no tap/);
    }
    assert.match(network('status').stdout, /^lo .* is no tap/m);
  });

  test('without the right to change networks it says what it needs', () => {
    const command = [process.execPath, SNAPCTR, 'network', 'up', '--config', config];
    const refused = namespace.run('setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin', '--', ...command);
    assert.equal(refused.status, 1, refused.stderr);
    assert.match(refused.stderr, /"ip tuntap add .*this needs root/);
  });

  test('a configuration without a network is bad usage', () => {
    writeFileSync(config, 'kernel_path: x\n');
    const refused = network('up');
    assert.deepEqual([refused.status, refused.stderr.includes('there is no `network`')], [2, true]);
  });
});
