/**
 * Runs in snapctr. Which web pages may use a function by its URL, where its configuration says so: preflights are answered without
 * the function, and headers of the function's own that say something else are left out, as on AWS.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { matchesPattern } from '../../../auth/operations.ts';
import type { CorsRecord } from '../../../registry/records.ts';
import type { HeaderList } from '../http-answer.ts';

const ANY = '*';
/** RFC 9110, 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The headers of the answer to a preflight: none that allow anything if this page may not. */
export function preflightHeaders(cors: CorsRecord, headers: IncomingHttpHeaders): HeaderList {
  const method = headers['access-control-request-method'] ?? '';
  const wanted = headers['access-control-request-headers'] ?? '';
  const allowed = corsHeaders(cors, headers.origin);
  if (!isAllowed(allowed)) return allowed;
  const { allowMethods, allowHeaders, maxAgeS } = cors;
  const methods = allowMethods?.includes(ANY) === true ? method : (allowMethods ?? []).join(',');
  // A star stands for itself where there are credentials, and never for `authorization`: so the names are repeated.
  const names = allowHeaders?.includes(ANY) === true ? wanted : (allowHeaders ?? []).join(',');
  return [
    ...allowed,
    ...(TOKEN.test(methods.replaceAll(',', '')) ? ['access-control-allow-methods', methods] : []),
    ...(names === '' ? [] : ['access-control-allow-headers', names]),
    ...(maxAgeS === null ? [] : ['access-control-max-age', String(maxAgeS)]),
    // A page of the internet that asks for a private address.
    ...(headers['access-control-request-private-network'] === 'true'
      ? ['access-control-allow-private-network', 'true']
      : []),
  ];
}

/** What lets the page of an origin read the answer. */
export function corsHeaders(cors: CorsRecord, origin: string | undefined): HeaderList {
  const { allowOrigins, allowCredentials, exposeHeaders } = cors;
  const isForAll = allowOrigins?.includes(ANY) === true && allowCredentials !== true;
  const vary = isForAll ? [] : ['vary', 'Origin'];
  if (origin === undefined || allowOrigins?.some((pattern) => matches(pattern, origin)) !== true) return vary;
  return [
    'access-control-allow-origin',
    isForAll ? ANY : origin,
    ...vary,
    ...(allowCredentials === true ? ['access-control-allow-credentials', 'true'] : []),
    ...(exposeHeaders === null || exposeHeaders.length === 0
      ? []
      : ['access-control-expose-headers', exposeHeaders.join(',')]),
  ];
}

export function allowsOrigin(cors: CorsRecord, origin: string | undefined): boolean {
  return isAllowed(corsHeaders(cors, origin));
}

function isAllowed(headers: HeaderList): boolean {
  return headers[0] === 'access-control-allow-origin';
}

function matches(pattern: string, origin: string): boolean {
  return pattern === ANY || matchesPattern(pattern.toLowerCase(), origin.toLowerCase());
}
