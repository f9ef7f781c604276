/** Runs in firerunner. The one tap of a VM that is started by hand: `--tap_name`, `--mac`, `--guest_ip`, `--gateway`. */
import { parseCidr, parseIpv4, TAP_NAME } from '../../protocol/tap-addresses.ts';
import type { Tap } from './tap-pool.ts';

export interface TapFlags {
  readonly tap_name?: string;
  readonly mac?: string;
  readonly guest_ip?: string;
  readonly gateway?: string;
}

/** The flags do not fit; the message says which. */
export class TapFlagsError extends Error {
  override readonly name = 'TapFlagsError';
}

/**
 * @returns null if none of the flags is given.
 * @throws TapFlagsError that says which of them does not fit.
 */
export function tapOfFlags({ tap_name: tapName, mac, guest_ip: guestIp, gateway }: TapFlags): Tap | null {
  if (tapName === undefined && mac === undefined) {
    if (guestIp === undefined && gateway === undefined) return null;
    throw new TapFlagsError('--guest_ip and --gateway need --tap_name and --mac');
  }
  if (tapName === undefined || mac === undefined) throw new TapFlagsError('give both --tap_name and --mac, or neither');
  if (!TAP_NAME.test(tapName)) {
    throw new TapFlagsError(`--tap_name ${JSON.stringify(tapName)}: expected 1 to 15 of A-Z a-z 0-9 . _ -`);
  }
  // The lowest bit of the first byte is set in addresses of groups.
  if (!/^[0-9a-f][02468ace](?::[0-9a-f]{2}){5}$/i.test(mac)) {
    throw new TapFlagsError(
      `--mac ${JSON.stringify(mac)}: expected the address of one card, such as 02:00:0a:c8:00:01`,
    );
  }
  const address = guestIp === undefined ? null : parseCidr(guestIp);
  if (address === null && guestIp !== undefined) {
    throw new TapFlagsError(
      `--guest_ip ${JSON.stringify(guestIp)}: expected an address with a prefix, such as 10.200.0.1/31`,
    );
  }
  if (gateway !== undefined && (address === null || parseIpv4(gateway) === null)) {
    throw new TapFlagsError(`--gateway ${JSON.stringify(gateway)}: expected an IPv4 address, and --guest_ip beside it`);
  }
  return {
    attachment: { tapName, mac },
    guest: {
      mac,
      address: guestIp?.split('/', 1)[0] ?? null,
      prefixLength: address?.prefixLength ?? 0,
      gateway: gateway ?? null,
      dns: null,
    },
  };
}
