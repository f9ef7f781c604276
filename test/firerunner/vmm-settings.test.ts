import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_SETTINGS, parseVmmSettings } from '../../src/firerunner/vmm-settings.ts';
import type { VmmSettings } from '../../src/protocol/runner.ts';

const EVERYTHING: VmmSettings = {
  firecracker: { path: '/usr/bin/firecracker', prestarted: 2 },
  jailer: {
    path: null,
    firstUid: 100_000,
    uidCount: 100,
    gid: null,
    chrootBase: '/srv/jailer',
    cgroup: { 'memory.max': '300M' },
  },
  network: { taps: ['sf0', 'sf1'], subnet: '10.200.0.0/24', dns: '9.9.9.9' },
};

test('VMM settings: what snapctr writes is what firerunner reads', () => {
  for (const settings of [EVERYTHING, NO_SETTINGS, { ...NO_SETTINGS, network: EVERYTHING.network }]) {
    assert.deepEqual(parseVmmSettings(JSON.stringify(settings)), settings);
  }
});

test('VMM settings: what is not said is as good as null', () => {
  assert.deepEqual(parseVmmSettings('{}'), NO_SETTINGS);
});

test('VMM settings: what does not fit is refused by its name', () => {
  assert.throws(() => parseVmmSettings('{'), /--vmm-settings is not JSON/);
  assert.throws(() => parseVmmSettings('{"network": 1}'), /--vmm-settings: network: /);
  const { network } = EVERYTHING;
  for (const [changed, where] of [
    [{ ...network, taps: [] }, /network\.taps/],
    [{ ...network, subnet: '10.0.0.0' }, /network\.subnet/],
    [{ ...network, dns: 'name' }, /network\.dns/],
    [{ ...network, more: 1 }, /network/],
  ] as const) {
    assert.throws(() => parseVmmSettings(JSON.stringify({ ...EVERYTHING, network: changed })), where);
  }
});
