import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadNetwork } from '../../../src/controller/config/network.ts';
import { ConfigError } from '../../../src/controller/config/config.ts';
import type { NetworkSettings } from '../../../src/protocol/vmm-settings.ts';

/** The block of a file of which nothing else is in order. */
function load(block: string): NetworkSettings {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-config-'));
  try {
    writeFileSync(join(directory, 'controller.yaml'), `max_paylod: 1\n${block}`);
    return loadNetwork('controller.yaml', directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function problems(block: string): readonly string[] {
  try {
    load(block);
  } catch (error) {
    assert(error instanceof ConfigError, String(error));
    return error.message.split('\n');
  }
  assert.fail('the block was accepted');
}

test('network config: names one by one, or by a range', () => {
  const subnet = '  subnet: 10.200.0.0/24\n';
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['tap0', ['tap0']],
    ['[tap0, other.tap]', ['tap0', 'other.tap']],
    ['sf{0..2}', ['sf0', 'sf1', 'sf2']],
    ['sf{9..11}x', ['sf9x', 'sf10x', 'sf11x']],
    ["['sf{3..3}', tap0]", ['sf3', 'tap0']],
  ];
  for (const [written, taps] of cases) {
    assert.deepEqual(load(`network:\n  taps: ${written}\n${subnet}`), { taps, subnet: '10.200.0.0/24', dns: null });
  }
});

test('network config: a name server', () => {
  assert.equal(load('network: {taps: [a], subnet: 10.0.0.0/31, dns: 9.9.9.9}\n').dns, '9.9.9.9');
});

test('network config: 1024 taps in 2048 addresses', () => {
  assert.equal(load('network:\n  taps: t{0..1023}\n  subnet: 10.0.0.0/21\n').taps.length, 1024);
});

test('network config: settings are frozen', () => {
  const settings = load('network: {taps: [a], subnet: 10.0.0.0/31}\n');
  assert(Object.isFrozen(settings) && Object.isFrozen(settings.taps));
});

const refusals: readonly (readonly [title: string, block: string, message: RegExp])[] = [
  ['no block', '', /^controller\.yaml:1:1: there is no `network`; add it/],
  [
    'a list',
    'network: [tap0]\n',
    /^controller\.yaml:2:10: network: must be a map with `taps` and `subnet`, not a list/,
  ],
  ['no taps', 'network: {subnet: 10.0.0.0/24}\n', /network: `taps` is missing; it must be names of tap devices/],
  ['an empty list', 'network: {taps: [], subnet: 10.0.0.0/24}\n', /`taps` must be names of tap devices/],
  ['a number as a tap', 'network: {taps: [1], subnet: 10.0.0.0/24}\n', /`taps` must be names of tap devices/],
  [
    'a name that is too long',
    'network:\n  taps:\n    - tap0\n    - a-name-too-long0\n  subnet: 10.0.0.0/24\n',
    /^controller\.yaml:5:7: network: `taps` must be names of tap devices.*"a-name-too-long0"/,
  ],
  ['a name with a comma', 'network: {taps: ["a,b"], subnet: 10.0.0.0/24}\n', /`taps` must be names/],
  ['the name of a directory', 'network: {taps: [..], subnet: 10.0.0.0/24}\n', /`taps` must be names/],
  ['a range that ends before it begins', 'network:\n  taps: a{3..1}\n  subnet: 10.0.0.0/24\n', /`taps` must be names/],
  [
    'a tap that is there twice',
    'network: {taps: ["a{0..2}", a1], subnet: 10.0.0.0/24}\n',
    /^controller\.yaml:2:29: network: the tap a1 is named twice/,
  ],
  [
    'too many',
    'network:\n  taps: a{0..1024}\n  subnet: 10.0.0.0/16\n',
    /these are more than 1024 taps; name at most 1024/,
  ],
  ['no subnet', 'network: {taps: [a]}\n', /network: `subnet` is missing; it must be an IPv4 network/],
  [
    'a subnet without a prefix',
    'network: {taps: [a], subnet: 10.0.0.0}\n',
    /^controller\.yaml:2:30: network: `subnet` must be an IPv4 network, such as `10\.200\.0\.0\/24`, not "10\.0\.0\.0"/,
  ],
  ['IPv6', 'network: {taps: [a], subnet: "fd00::/64"}\n', /`subnet` must be an IPv4 network/],
  ['an address in the subnet', 'network: {taps: [a], subnet: 10.0.0.1/24}\n', /has bits set behind its prefix/],
  ['a small subnet', 'network: {taps: [a, b], subnet: 10.0.0.0/31}\n', /has addresses for 1 taps, not for 2; name a/],
  ['a name server by name', 'network: {taps: [a], subnet: 10.0.0.0/31, dns: ns}\n', /`dns` must be the IPv4 address/],
  [
    'an unknown key',
    'network: {taps: [a], subnet: 10.0.0.0/31, gatway: 1}\n',
    /^controller\.yaml:2:43: network: unknown key `gatway`; remove it/,
  ],
];
for (const [title, block, message] of refusals) {
  test(`network config: refuses ${title}`, () => {
    const found = problems(block);
    assert.equal(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', message);
  });
}
