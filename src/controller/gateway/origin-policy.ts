/**
 * Runs in snapctr. Keeps web pages from using the gateway through the browsers of people who can reach it: on loopback that
 * is every page that a developer has open. Programs, which send none of these headers, notice nothing.
 *
 * ```
 *   Host             on a loopback address, and where nobody needs a key, only names that are no page's: one could have its own lead here
 *   Origin           only pages that came from the gateway's own address, and those that were allowed
 *   Sec-Fetch-Site   what a page requests without an Origin, such as images; links to the gateway work
 * ```
 */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { SnapfaasError } from '../../protocol/errors.ts';
import type { HeaderList } from './http-answer.ts';

/** Allows every page. */
const ANY = '*';

export interface OriginPolicyOptions {
  /** Where the gateway listens, as it was told. */
  readonly listenHost: string;
  /** The address that this is. */
  readonly address: string;
  /** Origins as browsers send them, such as `http://localhost:3000`, or `*`. */
  readonly allowed: readonly string[];
  readonly scheme: 'http' | 'https';
  /** Whether requests need keys, which no page has; asked each time. */
  readonly needsKeys: () => boolean;
}

export class OriginPolicy {
  readonly #isLoopback: boolean;
  readonly #needsKeys: () => boolean;
  readonly #ownNames: ReadonlySet<string>;
  readonly #allowed: ReadonlySet<string>;
  readonly #scheme: 'http' | 'https';
  /** Hosts in allowed origins: of a proxy in front, for example. */
  readonly #allowedHosts: ReadonlySet<string>;
  /** Most clients send one and the same. */
  #lastGoodHost: string | undefined;

  constructor({ listenHost, address, allowed, scheme, needsKeys }: OriginPolicyOptions) {
    this.#scheme = scheme;
    this.#needsKeys = needsKeys;
    this.#isLoopback = isLoopback(address);
    this.#ownNames = new Set([listenHost.toLowerCase(), ...(this.#isLoopback ? [] : [hostname().toLowerCase()])]);
    this.#allowed = new Set(allowed);
    this.#allowedHosts = new Set(allowed.flatMap((origin) => (URL.canParse(origin) ? [new URL(origin).hostname] : [])));
  }

  /** Why a request is refused; null if it is not. */
  problem(incoming: IncomingMessage): SnapfaasError | null {
    return this.hostProblem(incoming.headers.host) ?? this.pageProblem(incoming);
  }

  /** Why no request is taken by this name; null: one may be. */
  hostProblem(host: string | undefined): SnapfaasError | null {
    if (host !== this.#lastGoodHost && !this.#isGoodHost(host)) {
      return forbidden(
        `the host ${shown(host)} is not one of this machine; send the request to ${this.#goodHosts()}, or ` +
          'have a proxy do so (--allow-origin takes the origin of one that keeps the host)',
      );
    }
    this.#lastGoodHost = host;
    return null;
  }

  /** Why the page that sends a request may not; null: it may, or there is no page. */
  pageProblem({ method, headers }: IncomingMessage): SnapfaasError | null {
    const { host, origin } = headers;
    if (origin !== undefined) {
      if (this.#allows(origin) || isOwn(origin, host, this.#scheme)) return null;
      return forbidden(
        `web pages of ${shown(origin)} may not use this gateway; start snapctr with --allow-origin ${origin.slice(0, 200)} if they are to`,
      );
    }
    const site = headers['sec-fetch-site'];
    if (site === undefined || site === 'none' || site === 'same-origin') return null;
    const isRead = method === 'GET' || method === 'HEAD';
    if (isRead && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document') return null;
    return forbidden('web pages of another origin may not use this gateway; --allow-origin allows them to');
  }

  /** Headers by which a browser lets an allowed page read the answer; null for everybody else. */
  corsHeaders(incoming: IncomingMessage): HeaderList | null {
    const { origin } = incoming.headers;
    if (origin === undefined || !this.#allows(origin)) return null;
    const headers = ['access-control-allow-origin', origin, 'access-control-expose-headers', '*', 'vary', 'origin'];
    if (!isPreflight(incoming)) return headers;
    const wanted = incoming.headers['access-control-request-headers'];
    return [
      ...headers,
      ...['access-control-allow-methods', 'GET, HEAD, POST', 'access-control-max-age', '600'],
      ...(wanted === undefined ? [] : ['access-control-allow-headers', wanted]),
      ...['access-control-allow-private-network', 'true'],
    ];
  }

  #allows(origin: string): boolean {
    return this.#allowed.has(origin) || this.#allowed.has(ANY);
  }

  #isGoodHost(host: string | undefined): boolean {
    // Browsers have sent one since HTTP/1.0.
    if (host === undefined || (!this.#isLoopback && this.#needsKeys())) return true;
    // Whose pages may all come in need no name of ours.
    if (this.#allowed.has(ANY)) return true;
    const name = withoutPort(host);
    if (isLoopbackName(name) || this.#ownNames.has(name) || this.#allowedHosts.has(name)) return true;
    return !this.#isLoopback && isAddress(name);
  }

  #goodHosts(): string {
    const names = ['localhost', ...[...this.#ownNames].filter((name) => name !== 'localhost')];
    return [...names, ...(this.#isLoopback ? [] : ['an address of it'])].join(' or ');
  }
}

/** Whether only this machine reaches an address. */
export function isLoopback(address: string): boolean {
  return /^(localhost$|::1$|(::ffff:)?127\.)/.test(address.toLowerCase());
}

/** Whether a browser asks what it may do, before it sends the request of a page. */
export function isPreflight({ method, headers }: IncomingMessage): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
}

/**
 * @returns an origin as browsers write it, null for what is none.
 */
export function parseOrigin(text: string): string | null {
  if (text === ANY || text === 'null') return text;
  // URL leaves control characters out, and with them perhaps all of a host.
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#@\s\p{Cc}]+\/?$/iu.test(text) || !URL.canParse(text)) return null;
  const { origin, protocol, host } = new URL(text);
  // Of schemes that it does not know, such as those of extensions, URL says "null".
  return origin === 'null' ? `${protocol}//${host}` : origin;
}

/** An address, not a name: where a name leads is for its owner to say, from one request to the next. */
function isOwn(origin: string, host: string | undefined, scheme: string): boolean {
  if (host === undefined || origin !== `${scheme}://${host.toLowerCase()}`) return false;
  const name = withoutPort(host);
  return isLoopbackName(name) || isAddress(name);
}

/** @param host without its port. */
export function isAddress(host: string): boolean {
  return isIP(host.replace(/^\[|\]$/g, '')) !== 0;
}

/** A host in lower case. */
export function withoutPort(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, '');
}

/** The port of a host with its colon; empty: it has none. */
export function portOf(host: string): string {
  return /:\d+$/.exec(host)?.[0] ?? '';
}

export function isLoopbackName(name: string): boolean {
  return name === 'localhost' || name === '127.0.0.1' || name === '[::1]';
}

function forbidden(message: string): SnapfaasError {
  return new SnapfaasError('forbidden', message);
}

function shown(value: string | undefined): string {
  return JSON.stringify((value ?? '').slice(0, 200));
}
