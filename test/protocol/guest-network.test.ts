import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { encodeNetwork, type GuestNetwork } from '../../src/protocol/guest-network.ts';

const NETWORK: GuestNetwork = {
  mac: '02:00:0A:c8:00:01',
  address: '10.200.0.1',
  prefixLength: 31,
  gateway: '10.200.0.0',
  dns: '9.9.9.9',
};

test('guest network: every part has its place', () => {
  assert.equal(encodeNetwork(NETWORK).toString('hex'), '02000ac80001' + '0ac80001' + '1f' + '0ac80000' + '09090909');
});

test('guest network: what is not given is zeros, and so is the loss of the address', () => {
  const bare = { ...NETWORK, address: null, prefixLength: 0, gateway: null, dns: null };
  assert.equal(encodeNetwork(bare).toString('hex'), '02000ac80001' + '00'.repeat(13));
  assert.deepEqual(encodeNetwork(null), Buffer.alloc(19));
});

test('guest network: an address that is none is not sent', () => {
  assert.throws(() => encodeNetwork({ ...NETWORK, gateway: 'fe80::1' }), RangeError);
});

test('guest network: init expects as many bytes', () => {
  const header = readFileSync(new URL('../../guest/init/relay.h', import.meta.url), 'utf8');
  assert.equal(/^#define NETWORK_BYTES (\d+)$/m.exec(header)?.[1], String(encodeNetwork(NETWORK).length));
});
