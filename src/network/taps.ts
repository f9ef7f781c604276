/**
 * Runs in `snapctr network`. Makes the taps of a configuration, shows and removes them. Whatever is as it should be is left
 * alone, so that each may be done again at any time.
 */
import type { NetworkSettings } from '../protocol/runner.ts';
import { LINK_PREFIX_LENGTH, tapAddresses, type TapAddresses } from '../protocol/tap-addresses.ts';
import { checkSources, findInterface, ip, NetworkSetupError, type HostInterface } from './host-taps.ts';

/** Who may attach VMs to the taps; both null: root alone. */
export interface TapOwner {
  readonly uid: number | null;
  readonly gid: number | null;
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

/** @returns a line for each tap, and whether all of them are ready for VMs. */
export async function describeTaps(
  settings: NetworkSettings,
): Promise<{ readonly lines: readonly string[]; readonly areReady: boolean }> {
  const lines: string[] = [];
  let areReady = true;
  for (const { tapName, hostAddress, guestAddress, mac } of tapAddresses(settings)) {
    const found = await findInterface(tapName);
    const address = `${hostAddress}/${LINK_PREFIX_LENGTH}`;
    const problem = problemOf(found, address);
    areReady &&= problem === null;
    const owner = found === null ? '' : `, for ${ownerWords({ uid: found.ownerUid, gid: found.groupGid })}`;
    const state = problem ?? (found?.isInUse === true ? 'in use' : 'free');
    lines.push(`${tapName.padEnd(15)} host ${address}  guest ${guestAddress} ${mac}  ${state}${owner}`);
  }
  return { lines, areReady };
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

function ownerWords({ uid, gid }: TapOwner): string {
  const words = [...(uid === null ? [] : [`user ${uid}`]), ...(gid === null ? [] : [`group ${gid}`])];
  return words.length === 0 ? 'root alone' : words.join(' and ');
}
