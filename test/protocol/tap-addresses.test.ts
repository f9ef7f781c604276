import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  isNetworkAddress,
  parseCidr,
  parseIpv4,
  tapAddresses,
  tapCapacity,
  type Ipv4Cidr,
} from '../../src/protocol/tap-addresses.ts';

const cidr = (text: string): Ipv4Cidr => parseCidr(text) ?? assert.fail(`${text} is no network`);

test('tap addresses: each tap has two of its own, and its guest a MAC that tells its address', () => {
  assert.deepEqual(tapAddresses({ taps: ['a', 'b'], subnet: '10.200.0.0/24' }), [
    { tapName: 'a', hostAddress: '10.200.0.0', guestAddress: '10.200.0.1', mac: '02:00:0a:c8:00:01' },
    { tapName: 'b', hostAddress: '10.200.0.2', guestAddress: '10.200.0.3', mac: '02:00:0a:c8:00:03' },
  ]);
});

test('tap addresses: they go on past the end of a byte, and up to the last address', () => {
  const taps = Array.from({ length: 256 }, (_, index) => `t${index}`);
  const addresses = tapAddresses({ taps, subnet: '255.255.254.0/23' });
  assert.equal(addresses[128]?.hostAddress, '255.255.255.0');
  assert.equal(addresses[255]?.guestAddress, '255.255.255.255');
  assert.equal(new Set(addresses.flatMap((one) => [one.hostAddress, one.guestAddress])).size, 512);
});

test('tap addresses: a network too small for the taps is refused', () => {
  assert.throws(() => tapAddresses({ taps: ['a', 'b'], subnet: '10.0.0.0/31' }), /addresses for 1 taps, not for 2/);
  assert.throws(() => tapAddresses({ taps: ['a'], subnet: '10.0.0.0/32' }), /addresses for 0 taps/);
  assert.throws(() => tapAddresses({ taps: ['a'], subnet: 'everything' }), /expected an IPv4 network/);
});

test('tap addresses: capacity is half of the addresses', () => {
  assert.deepEqual(['10.0.0.0/32', '10.0.0.0/31', '10.0.0.0/24', '0.0.0.0/0'].map(cidr).map(tapCapacity), [
    0,
    1,
    128,
    2 ** 31,
  ]);
});

test('tap addresses: only the first address of a network stands for it', () => {
  assert.deepEqual(
    ['10.0.0.0/24', '10.0.0.1/24', '10.0.1.0/23', '0.0.0.0/0', '10.0.0.1/32'].map(cidr).map(isNetworkAddress),
    [true, false, false, true, true],
  );
});

test('tap addresses: what is no address is not taken for one', () => {
  for (const text of ['', '1.2.3', '1.2.3.4.5', '1.2.3.256', '01.2.3.4', '1.2.3.', '1.2.3.-4', '::1', '1.2.3.4 ']) {
    assert.equal(parseIpv4(text), null, text);
  }
  assert.equal(parseIpv4('255.0.0.1'), 0xff000001);
  for (const text of ['10.0.0.0', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0/24', '/24']) {
    assert.equal(parseCidr(text), null, text);
  }
});
