/** Runs in snapctr. Headers that are not handed on between a client and a function. */

/** They say where a message goes and where it ends, which no list of a `Connection` takes away. */
const NEVER_LISTED: ReadonlySet<string> = new Set(['host', 'content-length']);

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

/** @param connection what the headers `Connection` say, joined by commas. @returns the names in it, in lower case. */
export function listedNames(connection: string): ReadonlySet<string> {
  return new Set(connection.toLowerCase().split(/[\s,]+/));
}

/** @param name in lower case. @param listed by the message's `Connection`. */
export function isHopByHop(name: string, listed: ReadonlySet<string>): boolean {
  return HOP_BY_HOP.has(name) || (listed.has(name) && !NEVER_LISTED.has(name));
}
