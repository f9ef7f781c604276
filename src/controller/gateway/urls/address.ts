/**
 * Runs in snapctr. How a request names a function URL:
 *
 * ```
 *   by host    http://ID.lambda-url.REGION.DOMAIN:PORT/PATH    all paths are the function's
 *   by path    http://HOST:PORT/url/NAME[:QUALIFIER]/PATH      where such a name cannot be resolved
 * ```
 *
 * What follows is handed on as it came: no decoding, no `//` or `..` taken away.
 */
import type { IncomingMessage } from 'node:http';
import type { LambdaAccount } from '../../../protocol/arn.ts';
import type { FunctionRegistry, FunctionUrl } from '../../../registry/function-registry.ts';
import { isAddress, isLoopbackName, portOf, withoutPort } from '../origin-policy.ts';

const HOST = /^([a-z0-9]{32})\.lambda-url\.([a-z0-9-]+)\.([a-z0-9.-]+)$/;
const ID_CHARACTERS = 32;
const PREFIX = '/url/';
const PATH = /^\/url\/([a-zA-Z0-9._-]{1,64})(?::([a-zA-Z0-9_-]{1,128}))?(?=[/?]|$)/;
/** The names below it lead to this machine and nowhere else (RFC 6761, 6.3). */
const LOCAL_DOMAIN = 'localhost';

export interface UrlAddress {
  /** Null: there is none. */
  readonly url: FunctionUrl | null;
  /** Of the function, where that is said; null: nobody knows. */
  readonly name: string | null;
  /** Who has to be trusted with where it leads: the domain around the id, or the host as it is. */
  readonly host: string | undefined;
  readonly isByPath: boolean;
  readonly rawPath: string;
  /** Without the question mark. */
  readonly rawQuery: string;
}

/** @param target of the request, from its path on. @returns null: it is no function URL's. */
export function addressOf(
  host: string | undefined,
  target: string,
  functions: Pick<FunctionRegistry, 'get' | 'url'>,
  { region }: LambdaAccount,
): UrlAddress | null {
  // No shorter one has an id.
  if (host !== undefined && host.length > ID_CHARACTERS) {
    const [, id = '', ofRegion, domain] = HOST.exec(withoutPort(host)) ?? [];
    if (domain !== undefined) {
      const url = ofRegion === region ? (functions.url(id) ?? null) : null;
      return { url, name: url?.function ?? null, host: domain, isByPath: false, ...split(target) };
    }
  }
  if (!target.startsWith(PREFIX)) return null;
  const [prefix = '', name = '', qualifier = null] = PATH.exec(target) ?? [];
  if (prefix === '') return null;
  const url = functions.get(name)?.urls.find((one) => one.qualifier === qualifier) ?? null;
  return { url, name, host, isByPath: true, ...split(target.slice(prefix.length)) };
}

function split(target: string): Pick<UrlAddress, 'rawPath' | 'rawQuery'> {
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  return { rawPath: path === '' ? '/' : path, rawQuery: mark === -1 ? '' : target.slice(mark + 1) };
}

export function domainNameOf(id: string, region: string, domain = LOCAL_DOMAIN): string {
  return `${id}.lambda-url.${region}.${domain}`;
}

/** The URL, in the domain that the client reaches us by, if that has names below it. */
export function urlFor({ headers, socket }: IncomingMessage, id: string, region: string): string {
  const scheme = 'encrypted' in socket ? 'https' : 'http';
  const name = headers.host === undefined ? LOCAL_DOMAIN : withoutPort(headers.host);
  const hasNames = !isLoopbackName(name) && !isAddress(name);
  const port = headers.host === undefined ? `:${socket.localPort ?? 80}` : portOf(headers.host);
  return `${scheme}://${domainNameOf(id, region, hasNames ? name : LOCAL_DOMAIN)}${port}/`;
}
