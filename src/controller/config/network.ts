/** Runs in snapctr. The controller's `network` block: the host's taps and the addresses at their ends. */
import { resolve } from 'node:path';
import { z } from 'zod';
import type { NetworkSettings } from '../../protocol/vmm-settings.ts';
import { isNetworkAddress, parseCidr, parseIpv4, TAP_NAME, tapCapacity } from '../../protocol/tap-addresses.ts';
import { check } from '../../yaml/check.ts';
import { expected } from '../../yaml/values.ts';
import { ConfigError, YamlFile, type Problem } from '../../yaml/yaml-file.ts';

/** More interfaces than hosts are asked to have. */
const MAX_TAPS = 1024;

const TAPS_WORDS = 'names of tap devices, 1 to 15 of `A-Z a-z 0-9 . _ -` each, or a range such as `sf{0..15}`';
const SUBNET_WORDS = 'an IPv4 network, such as `10.200.0.0/24`';

const taps = expected(TAPS_WORDS);
const subnet = expected(SUBNET_WORDS);
const dns = expected('the IPv4 address of a name server, such as `10.0.0.53`');

const networkSchema = z.strictObject(
  {
    taps: z.union([z.string().transform((name) => [name]), z.array(z.string()).min(1, taps)], taps),
    subnet: z.string(subnet),
    dns: z
      .string(dns)
      .refine((text) => parseIpv4(text) !== null, dns)
      .nullish(),
  },
  expected('a map with `taps` and `subnet`'),
);

/**
 * The `network` block of a controller's file. What is wrong is added to `problems`.
 * @returns null if there is none, or it does not fit.
 */
export function readNetwork(source: YamlFile, problems: Problem[]): NetworkSettings | null {
  if (!hasNetwork(source)) return null;
  const yaml = check(networkSchema, blockOf(source), source, ['network'], 'network: ', problems);
  if (yaml === null) return null;
  const complain = (path: readonly (string | number)[], message: string): void => {
    problems.push(source.problemAt(['network', ...path], `network: ${message}`));
  };
  const names = expandTaps(yaml.taps, complain);
  checkSubnet(yaml.subnet, names.length, (message) => complain(['subnet'], message));
  return Object.freeze({ taps: Object.freeze(names), subnet: yaml.subnet, dns: yaml.dns ?? null });
}

/** Whether there is such a block, right or wrong. */
export function hasNetwork(source: YamlFile): boolean {
  return (blockOf(source) ?? null) !== null;
}

function blockOf({ value }: YamlFile): unknown {
  return typeof value === 'object' && value !== null && 'network' in value ? value.network : null;
}

/**
 * The `network` block alone, for who looks after the taps: the rest of the file need not be in order.
 *
 * @param cwd absolute.
 * @throws ConfigError with every problem of the block; if there is none as well.
 */
export function loadNetwork(path: string, cwd: string): NetworkSettings {
  const problems: Problem[] = [];
  const source = YamlFile.read(resolve(cwd, path), path, problems);
  const network = source === null ? null : readNetwork(source, problems);
  if (source !== null && network === null && problems.length === 0) {
    problems.push(source.problemAt([], 'there is no `network`; add it with `taps` and `subnet`, see docs/network.md'));
  }
  if (network === null || problems.length > 0) throw new ConfigError(problems);
  return network;
}

/** `sf{0..3}` stands for `sf0`, `sf1`, `sf2` and `sf3`. */
function expandTaps(words: readonly string[], complain: (path: readonly (string | number)[], text: string) => void) {
  const names = new Set<string>();
  for (const [index, word] of words.entries()) {
    const [, before = '', first, last, after = ''] = /^(.*)\{(\d{1,4})\.\.(\d{1,4})\}(.*)$/.exec(word) ?? [];
    const count = first === undefined ? 1 : Number(last) - Number(first) + 1;
    const expanded =
      first === undefined
        ? [word]
        : Array.from({ length: Math.max(count, 0) }, (_, n) => `${before}${Number(first) + n}${after}`);
    const bad = expanded.find((name) => !TAP_NAME.test(name) || name === '.' || name === '..');
    if (bad !== undefined || count < 1) {
      complain(['taps', index], `\`taps\` must be ${TAPS_WORDS}, not ${JSON.stringify(word)}`);
      continue;
    }
    if (names.size + count > MAX_TAPS) {
      complain(['taps', index], `these are more than ${MAX_TAPS} taps; name at most ${MAX_TAPS}`);
      break;
    }
    const twice = expanded.find((name) => names.has(name));
    if (twice !== undefined) complain(['taps', index], `the tap ${twice} is named twice; each VM needs one of its own`);
    for (const name of expanded) names.add(name);
  }
  return [...names];
}

function checkSubnet(text: string, wanted: number, complain: (message: string) => void): void {
  const network = parseCidr(text);
  if (network === null) return complain(`\`subnet\` must be ${SUBNET_WORDS}, not ${JSON.stringify(text)}`);
  if (!isNetworkAddress(network)) {
    return complain(`\`subnet\` ${text} has bits set behind its prefix; write the first address of the network`);
  }
  const room = tapCapacity(network);
  if (room >= wanted) return;
  complain(`\`subnet\` ${text} has addresses for ${room} taps, not for ${wanted}; name a larger network or fewer taps`);
}
