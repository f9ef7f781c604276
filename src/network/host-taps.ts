/** Runs in `snapctr network`. Tap devices as the kernel shows them, and iproute2 to change them. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '../protocol/errors.ts';

const INTERFACES = '/sys/class/net';
/** Of `tun_flags`: a tap, not a tun. */
const IFF_TAP = 2;
/** In place of a user or a group of a tap that asks for none. */
const NOBODY = -1;

/** iproute2 is missing, or refused a step; the message says what is needed. */
export class NetworkSetupError extends Error {
  override readonly name = 'NetworkSetupError';
}

/** A network interface of this host, or of the namespace that this process runs in. */
export interface HostInterface {
  readonly isTap: boolean;
  /** The user whom the kernel asks for; null: any. */
  readonly ownerUid: number | null;
  /** The group that the kernel asks for; null: any. */
  readonly groupGid: number | null;
  readonly isUp: boolean;
  /** A VM is attached. */
  readonly isInUse: boolean;
  /** IPv4 in CIDR notation. */
  readonly addresses: readonly string[];
}

/**
 * @returns null if there is no such interface.
 * @throws NetworkSetupError if /sys cannot tell, or iproute2 is missing.
 */
export async function findInterface(name: string): Promise<HostInterface | null> {
  const isHere = interfaceNames().includes(name);
  if (isHere !== existsSync(join(INTERFACES, name))) {
    throw new NetworkSetupError(
      '/sys shows the devices of another network namespace than this process is in; enter it with `ip netns exec NAME`, ' +
        'or mount a /sys of its own: mount -t sysfs sysfs /sys',
    );
  }
  if (!isHere) return null;
  const id = (file: string): number | null => {
    const value = Number(attribute(name, file) ?? NOBODY);
    return value === NOBODY ? null : value;
  };
  const [shown] = JSON.parse(await ip('-json', '-4', 'address', 'show', 'dev', name)) as [AddressesShown?];
  return {
    isTap: (Number(attribute(name, 'tun_flags') ?? 0) & IFF_TAP) !== 0,
    ownerUid: id('owner'),
    groupGid: id('group'),
    isUp: (shown?.flags ?? []).includes('UP'),
    isInUse: attribute(name, 'carrier') === '1',
    addresses: (shown?.addr_info ?? []).map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  };
}

/** Of this process's network namespace. */
function interfaceNames(): readonly string[] {
  const lines = readFileSync('/proc/self/net/dev', 'utf8').split('\n');
  return lines.flatMap((line) => (line.includes(':') ? [line.slice(0, line.indexOf(':')).trim()] : []));
}

interface AddressesShown {
  readonly flags?: readonly string[];
  readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number }[];
}

/**
 * Has the kernel drop what comes in with a source address that is not of this interface's network (RFC 3704, strict).
 * @returns what to tell of it: nothing, unless it cannot be set, as in containers.
 */
export function checkSources(name: string): readonly string[] {
  try {
    writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, '1');
    return [];
  } catch (error) {
    return [`source addresses are not checked (${messageOf(error)})`];
  }
}

/** Only taps have all attributes, and some cannot be read while an interface is down. */
function attribute(name: string, file: string): string | null {
  try {
    return readFileSync(join(INTERFACES, name, file), 'utf8').trim();
  } catch {
    return null;
  }
}

/** Words in what `ip` prints when it fails, and what they ask for. */
const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/not permitted|permission denied/i, 'this needs root: run it with sudo, or with CAP_NET_ADMIN'],
  [/no such (file|device)/i, 'this kernel offers no /dev/net/tun: load its driver with "modprobe tun"'],
  [/busy/i, 'another program holds a device of this name: end it, or name other taps'],
];

/**
 * Runs iproute2's `ip`.
 * @returns what it prints.
 * @throws NetworkSetupError
 */
export async function ip(...args: readonly string[]): Promise<string> {
  try {
    const env = {
      ...process.env,
      PATH: `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
      LC_ALL: 'C.UTF-8',
    };
    return (await promisify(execFile)('ip', args, { env })).stdout;
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    if ('code' in cause && cause.code === 'ENOENT') {
      throw new NetworkSetupError('the program "ip" is not installed; on Debian: apt-get install iproute2', { cause });
    }
    const said = 'stderr' in cause && typeof cause.stderr === 'string' ? cause.stderr.trim() : cause.message;
    const remedy = REMEDIES.find(([words]) => words.test(said))?.[1];
    const advice = remedy === undefined ? '' : `; ${remedy}`;
    throw new NetworkSetupError(`"ip ${args.join(' ')}" failed: ${said}${advice}`, { cause });
  }
}
