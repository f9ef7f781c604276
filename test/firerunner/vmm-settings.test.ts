import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import { parseVmmSettings } from '../../src/firerunner/vmm-settings.ts';
import type { VmmSettings } from '../../src/protocol/vmm-settings.ts';

const EVERYTHING: VmmSettings = {
  qemu: { prestarted: 3 },
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

test('VMM settings: users and groups of a jail are such as exist, and none of the system’s', () => {
  const { jailer } = EVERYTHING;
  for (const [changed, where] of [
    [{ firstUid: 0 }, /jailer\.firstUid/],
    [{ firstUid: 999 }, /jailer\.firstUid/],
    [{ firstUid: 2 ** 32 - 1 }, /jailer\.firstUid/],
    [{ firstUid: 2 ** 32 - 2, uidCount: 2 }, /jailer\.uidCount/],
    [{ gid: 2 ** 32 - 1 }, /jailer\.gid/],
  ] as const) {
    const text = JSON.stringify({ ...EVERYTHING, jailer: { ...jailer, ...changed } });
    assert.throws(() => parseVmmSettings(text), where, JSON.stringify(changed));
  }
  const last = { ...EVERYTHING, jailer: { ...jailer, firstUid: 2 ** 32 - 2, uidCount: 1 } };
  assert.doesNotThrow(() => parseVmmSettings(JSON.stringify(last)));
});
