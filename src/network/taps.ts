/**
 * Runs in `snapctr network`. Makes the taps of a configuration, shows and removes them. Whatever is as it should be is left
 * alone, so that each may be done again at any time.
 */
import type { NetworkSettings } from '../protocol/vmm-settings.ts';
import { LINK_PREFIX_LENGTH, tapAddresses, type TapAddresses } from '../protocol/tap-addresses.ts';
import { checkSources, findInterface, ip, NetworkSetupError, type HostInterface } from './host-taps.ts';

/**
 * Who may attach VMs to a tap without the right to change networks. If both are set, only who is that user and of that group;
 * if neither is, anybody who may open /dev/net/tun. Source: the kernel's `tun_not_capable`.
 */
export interface TapOwner {
  readonly uid: number | null;
  readonly gid: number | null;
}

/** A process that attaches VMs. */
export interface TapUser {
  readonly uid: number;
  readonly gids: readonly number[];
}

export interface TapState extends TapAddresses {
  /** Why no VM can use it, such as "missing"; null if nothing speaks against it. */
  readonly problem: string | null;
  /** A VM is attached. */
  readonly isInUse: boolean;
  /** Null: there is no such interface. */
  readonly owner: TapOwner | null;
}

/** Without the right to change networks. */
export function mayAttach({ uid, gid }: TapOwner, user: TapUser): boolean {
  return (uid === null || uid === user.uid) && (gid === null || user.gids.includes(gid));
}

/**
 * Makes what is missing.
 *
 * @param say takes a line for each tap: what was done.
 * @throws NetworkSetupError at the first step that fails; what was done stays.
 */
export async function bringUp(settings: NetworkSettings, owner: TapOwner, say: (text: string) => void): Promise<void> {
  for (const tap of tapAddresses(settings)) {
    const done = await bringUpTap(tap, owner);
    say(`${tap.tapName}: ${done.length === 0 ? 'is as it should be' : done.join(', ')}`);
  }
}

async function bringUpTap({ tapName, hostAddress }: TapAddresses, owner: TapOwner): Promise<readonly string[]> {
  const done: string[] = [];
  let found = await findTap(tapName);
  if (found === null) {
    const user = owner.uid === null ? [] : ['user', String(owner.uid)];
    const group = owner.gid === null ? [] : ['group', String(owner.gid)];
    await ip('tuntap', 'add', 'dev', tapName, 'mode', 'tap', ...user, ...group);
    // No address that the kernel would choose by itself: guests reach the host by IPv4 alone.
    await ip('link', 'set', 'dev', tapName, 'addrgenmode', 'none');
    done.push(`made for ${ownerWords(owner)}`, ...checkSources(tapName));
    found = await findTap(tapName);
  } else if (found.ownerUid !== owner.uid || found.groupGid !== owner.gid) {
    const now = ownerWords({ uid: found.ownerUid, gid: found.groupGid });
    throw new NetworkSetupError(
      `${tapName} is there, for ${now} and not for ${ownerWords(owner)}; remove it first with "snapctr network down"`,
    );
  }
  const address = `${hostAddress}/${LINK_PREFIX_LENGTH}`;
  for (const other of (found?.addresses ?? []).filter((one) => one !== address)) {
    await ip('address', 'del', other, 'dev', tapName);
    done.push(`${other} removed`);
  }
  if (found?.addresses.includes(address) !== true) {
    await ip('address', 'add', address, 'dev', tapName);
    done.push(`${address} set`);
  }
  if (found?.isUp !== true) {
    await ip('link', 'set', 'dev', tapName, 'up');
    done.push('brought up');
  }
  return done;
}

/**
 * Removes the taps that are there.
 *
 * @throws NetworkSetupError if one is in use, before any is removed; or if a removal fails.
 */
export async function takeDown({ taps }: NetworkSettings, say: (text: string) => void): Promise<void> {
  const found = new Map<string, HostInterface | null>();
  for (const name of taps) found.set(name, await findTap(name));
  const busy = taps.filter((name) => found.get(name)?.isInUse === true);
  if (busy.length > 0) {
    throw new NetworkSetupError(`VMs run on ${busy.join(', ')}; stop the controller first`);
  }
  for (const name of taps) {
    const isThere = found.get(name) !== null;
    if (isThere) await ip('link', 'delete', 'dev', name);
    say(`${name}: ${isThere ? 'removed' : 'was not there'}`);
  }
}

/** @throws NetworkSetupError if the host cannot be asked. */
export async function examineTaps(settings: NetworkSettings): Promise<readonly TapState[]> {
  const states: TapState[] = [];
  for (const tap of tapAddresses(settings)) {
    const found = await findInterface(tap.tapName);
    const problem = problemOf(found, `${tap.hostAddress}/${LINK_PREFIX_LENGTH}`);
    const owner = found === null ? null : { uid: found.ownerUid, gid: found.groupGid };
    states.push({ ...tap, problem, isInUse: found?.isInUse === true, owner });
  }
  return states;
}

/** @returns a line for each tap, and whether all of them are ready for VMs. */
export async function describeTaps(
  settings: NetworkSettings,
): Promise<{ readonly lines: readonly string[]; readonly areReady: boolean }> {
  const states = await examineTaps(settings);
  const lines = states.map(({ tapName, hostAddress, guestAddress, mac, problem, isInUse, owner }) => {
    const addresses = `host ${hostAddress}/${LINK_PREFIX_LENGTH}  guest ${guestAddress} ${mac}`;
    const state = problem ?? (isInUse ? 'in use' : 'free');
    return `${tapName.padEnd(15)} ${addresses}  ${state}${owner === null ? '' : `, for ${ownerWords(owner)}`}`;
  });
  return { lines, areReady: states.every(({ problem }) => problem === null) };
}

function problemOf(found: HostInterface | null, address: string): string | null {
  if (found === null) return 'missing';
  if (!found.isTap) return 'is no tap';
  if (!found.addresses.includes(address)) return `has not the address ${address}`;
  return found.isUp ? null : 'down';
}

async function findTap(name: string): Promise<HostInterface | null> {
  const found = await findInterface(name);
  if (found === null || found.isTap) return found;
  throw new NetworkSetupError(`${name} is a network interface of this host, and no tap; name the taps otherwise`);
}

/** As in "made for …". */
export function ownerWords({ uid, gid }: TapOwner): string {
  if (uid === 0 && gid === null) return 'root alone';
  const words = [...(uid === null ? [] : [`user ${uid}`]), ...(gid === null ? [] : [`group ${gid}`])];
  return words.length === 0 ? 'anybody' : words.join(' and ');
}
