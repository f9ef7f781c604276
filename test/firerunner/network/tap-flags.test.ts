import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tapOfFlags, type TapFlags } from '../../../src/firerunner/network/tap-flags.ts';

const TAP = { tap_name: 'tap0', mac: '02:00:0a:c8:00:01' };

test('tap flags: none is no network', () => {
  assert.equal(tapOfFlags({}), null);
});

test("tap flags: the original's two give an interface without an address", () => {
  assert.deepEqual(tapOfFlags(TAP), {
    attachment: { tapName: 'tap0', mac: TAP.mac },
    guest: { mac: TAP.mac, address: null, prefixLength: 0, gateway: null, dns: null },
  });
});

test('tap flags: an address and a gateway beside them', () => {
  assert.deepEqual(tapOfFlags({ ...TAP, guest_ip: '10.0.0.2/24', gateway: '10.0.0.1' })?.guest, {
    mac: TAP.mac,
    address: '10.0.0.2',
    prefixLength: 24,
    gateway: '10.0.0.1',
    dns: null,
  });
});

const refusals: readonly (readonly [string, TapFlags, RegExp])[] = [
  ['a tap without a MAC', { tap_name: 'tap0' }, /both --tap_name and --mac/],
  ['a MAC without a tap', { mac: TAP.mac }, /both --tap_name and --mac/],
  ['an address without a tap', { guest_ip: '10.0.0.2/24' }, /need --tap_name and --mac/],
  ["a name that is an option of QEMU's", { ...TAP, tap_name: 'tap0,script=x' }, /1 to 15 of/],
  ['a MAC that is none', { ...TAP, mac: '02:00:0a' }, /address of one card/],
  ['the MAC of a group', { ...TAP, mac: '03:00:0a:c8:00:01' }, /address of one card/],
  ['an address without a prefix', { ...TAP, guest_ip: '10.0.0.2' }, /address with a prefix/],
  ['a gateway without an address', { ...TAP, gateway: '10.0.0.1' }, /--guest_ip beside it/],
  ['a gateway that is none', { ...TAP, guest_ip: '10.0.0.2/24', gateway: 'gate' }, /expected an IPv4 address/],
];
for (const [title, flags, why] of refusals) {
  test(`tap flags: ${title} is refused`, () => {
    assert.throws(() => tapOfFlags(flags), why);
  });
}
