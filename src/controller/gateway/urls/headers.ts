/** Runs in snapctr. Headers that are not handed on between a client and a function. */

/** RFC 9110, 7.6.1, with what older programs send: they are about a connection, and each side has its own. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** @param name in lower case. */
export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name);
}
