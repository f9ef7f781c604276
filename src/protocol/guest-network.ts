/**
 * Runs in snapctr and in firerunner. The payload of a NETWORK frame: how a guest is reached, in bytes that init can
 * take without a parser.
 *
 * ```
 *   0          6          10             11         15        19
 *   +----------+----------+--------------+----------+---------+
 *   | mac      | address  | prefix       | gateway  | dns     |     addresses in network order, zeros: none
 *   | 6 bytes  | IPv4     | length, u8   | IPv4     | IPv4    |
 *   +----------+----------+--------------+----------+---------+
 * ```
 *
 * All zeros take the guest's address away.
 */
import { parseIpv4 } from './tap-addresses.ts';

const NETWORK_BYTES = 19;

/** How a guest is reached; each address is IPv4 in dotted form. */
export interface GuestNetwork {
  /** Six hex pairs with colons. */
  readonly mac: string;
  /** Null: the interface is up, but has none. */
  readonly address: string | null;
  readonly prefixLength: number;
  /** Null: no default route. */
  readonly gateway: string | null;
  /** The name server for /etc/resolv.conf; null: none. */
  readonly dns: string | null;
}

/** @param network null: the guest loses its address. */
export function encodeNetwork(network: GuestNetwork | null): Buffer {
  const payload = Buffer.alloc(NETWORK_BYTES);
  if (network === null) return payload;
  payload.write(network.mac.replaceAll(':', ''), 0, 6, 'hex');
  payload.writeUInt32BE(ipv4(network.address), 6);
  payload.writeUInt8(network.prefixLength, 10);
  payload.writeUInt32BE(ipv4(network.gateway), 11);
  payload.writeUInt32BE(ipv4(network.dns), 15);
  return payload;
}

function ipv4(address: string | null): number {
  const number = address === null ? 0 : parseIpv4(address);
  if (number === null) throw new RangeError(`expected an IPv4 address, not ${String(address)}`);
  return number;
}
