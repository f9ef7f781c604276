/**
 * Runs in snapctr and in firerunner. Which addresses belong to which tap device. snapctr needs them to set up the
 * host's ends (`snapctr network up`), firerunner to tell guests theirs. Two addresses for each tap, in the taps' order
 * (point-to-point links, RFC 3021):
 *
 * ```
 *   subnet 10.200.0.0/24    sf0   host 10.200.0.0/31   guest 10.200.0.1/31   02:00:0a:c8:00:01
 *                           sf1   host 10.200.0.2/31   guest 10.200.0.3/31   02:00:0a:c8:00:03
 * ```
 */
import type { NetworkSettings } from './vmm-settings.ts';

/** What a tap device may be called. Linux allows 15 bytes. */
export const TAP_NAME = /^[A-Za-z0-9._-]{1,15}$/;

/** Of the link between a tap and its guest. */
export const LINK_PREFIX_LENGTH = 31;

export interface TapAddresses {
  readonly tapName: string;
  /** IPv4 address of the host's end: the guest's gateway. */
  readonly hostAddress: string;
  readonly guestAddress: string;
  /** Of the guest: six hex pairs with colons, locally administered, the last four those of its address. */
  readonly mac: string;
}

export interface Ipv4Cidr {
  /** As an unsigned 32-bit number. */
  readonly address: number;
  readonly prefixLength: number;
}

/** @throws RangeError if the subnet is none, or too small. */
export function tapAddresses({ taps, subnet }: Pick<NetworkSettings, 'taps' | 'subnet'>): readonly TapAddresses[] {
  const network = parseCidr(subnet);
  if (network === null) throw new RangeError(`expected an IPv4 network such as 10.200.0.0/24, not ${subnet}`);
  if (taps.length > tapCapacity(network)) {
    throw new RangeError(`${subnet} has addresses for ${tapCapacity(network)} taps, not for ${taps.length}`);
  }
  return taps.map((tapName, index) => {
    const host = network.address + 2 * index;
    return {
      tapName,
      hostAddress: formatIpv4(host),
      guestAddress: formatIpv4(host + 1),
      mac: macOf(host + 1),
    };
  });
}

/** How many taps a network has addresses for. */
export function tapCapacity({ prefixLength }: Ipv4Cidr): number {
  return prefixLength > LINK_PREFIX_LENGTH ? 0 : 2 ** (LINK_PREFIX_LENGTH - prefixLength);
}

/** @returns null if the text is no IPv4 address with a prefix length, such as `10.0.0.1/24`. */
export function parseCidr(text: string): Ipv4Cidr | null {
  const [, dotted = '', length] = /^([\d.]+)\/(\d{1,2})$/.exec(text) ?? [];
  const address = parseIpv4(dotted);
  const prefixLength = Number(length);
  return address === null || !(prefixLength <= 32) ? null : { address, prefixLength };
}

/** Whether the address is the first of its network: no bit is set behind the prefix. */
export function isNetworkAddress({ address, prefixLength }: Ipv4Cidr): boolean {
  return address % 2 ** (32 - prefixLength) === 0;
}

/** @returns null if the text is no IPv4 address of four decimal numbers. */
export function parseIpv4(text: string): number | null {
  const numbers = text.split('.').map((part) => (/^(?:0|[1-9]\d{0,2})$/.test(part) ? Number(part) : Number.NaN));
  if (numbers.length !== 4 || !numbers.every((number) => number <= 255)) return null;
  return numbers.reduce((address, number) => address * 256 + number, 0);
}

function formatIpv4(address: number): string {
  return bytesOf(address).join('.');
}

function macOf(address: number): string {
  return [2, 0, ...bytesOf(address)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function bytesOf(address: number): readonly number[] {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256);
}
