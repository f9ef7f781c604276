/**
 * Runs in snapctr. What a signed request says of its signature, before any of it is believed:
 *
 * ```
 *   Authorization: AWS4-HMAC-SHA256 Credential=ID/DAY/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX
 *   ?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=…&X-Amz-Date=…&X-Amz-Expires=S&X-Amz-SignedHeaders=…&X-Amz-Signature=…
 * ```
 */
import { AccessError } from '../access-error.ts';
import { canonicalQuery, queryParameters, type HeaderValues } from './canonical-request.ts';
import { ALGORITHM, TERMINATOR, type Scope } from './signature.ts';

export interface SignatureClaim {
  readonly keyId: string;
  readonly scope: Scope;
  /** `YYYYMMDD'T'HHMMSS'Z'`. */
  readonly timestamp: string;
  /** The same in ms since the epoch. */
  readonly signedAtMs: number;
  /** For how long a presigned request holds, in seconds; null: it is not presigned. */
  readonly expiresS: number | null;
  /** Names in lower case, in the order of the signature. */
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** Of everything but the signature. */
  readonly canonicalQuery: string;
  /** What the query says the body's hash is, or what stands for it; null: nothing. */
  readonly queryContentHash: string | null;
}

/** As long as a presigned request may hold, in seconds: a week. */
const MAX_EXPIRES_S = 7 * 24 * 3600;
/** Names in a signature; no client of AWS comes near it. */
const MAX_SIGNED_HEADERS = 128;

/**
 * @param query of the request target, without the question mark.
 * @returns null for a request that is not signed.
 * @throws AccessError for a signature that is not of the right form.
 */
export function signatureClaim(headers: HeaderValues, query: string): SignatureClaim | null {
  const [authorization, ...more] = headers.get('authorization') ?? [];
  if (more.length > 0) throw incomplete('the header "authorization" is there more than once; send one');
  if (authorization !== undefined) return headerClaim(authorization, headers, query);
  return /x-amz-(?:signature|algorithm|credential)/i.test(query) ? queryClaim(query) : null;
}

function headerClaim(authorization: string, headers: HeaderValues, query: string): SignatureClaim {
  const space = authorization.search(/[\t ]/);
  const algorithm = space === -1 ? authorization : authorization.slice(0, space);
  if (algorithm !== ALGORITHM) throw incomplete(`the algorithm must be ${ALGORITHM}, not ${shown(algorithm)}`);
  const parts = new Map<string, string>();
  for (const part of authorization.slice(algorithm.length).split(',')) {
    const equals = part.indexOf('=');
    const name = part.slice(0, equals === -1 ? undefined : equals).trim();
    if (equals === -1 || parts.has(name)) throw incomplete(`the header "authorization" has a part ${shown(name)}`);
    parts.set(name, part.slice(equals + 1).trim());
  }
  const missing = ['Credential', 'SignedHeaders', 'Signature'].filter((name) => !parts.has(name));
  const timestamp = dateHeader(headers);
  if (missing.length > 0 || timestamp === null) {
    const wanted = missing.map((name) => `Authorization header requires '${name}' parameter.`);
    if (timestamp === null) {
      wanted.push("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.");
    }
    throw incomplete(wanted.join(' '));
  }
  if (parts.size > 3)
    throw incomplete('the header "authorization" has parts beside Credential, SignedHeaders and Signature');
  return {
    ...claimOf(parts.get('Credential') ?? '', parts.get('SignedHeaders') ?? '', timestamp),
    expiresS: null,
    signature: parts.get('Signature') ?? '',
    canonicalQuery: canonicalQuery(queryParameters(query)),
    queryContentHash: null,
  };
}

function queryClaim(query: string): SignatureClaim {
  const parameters = queryParameters(query);
  const one = (name: string): string => {
    const [first, ...more] = parameters.filter(([given]) => given.toLowerCase() === name.toLowerCase());
    if (first === undefined) throw incomplete(`AWS query-string parameters must include '${name}'.`);
    if (more.length > 0) throw incomplete(`the parameter ${name} is there more than once; send one`);
    return first[1];
  };
  const algorithm = one('X-Amz-Algorithm');
  if (algorithm !== ALGORITHM) throw incomplete(`the algorithm must be ${ALGORITHM}, not ${shown(algorithm)}`);
  const signature = one('X-Amz-Signature');
  const expires = one('X-Amz-Expires');
  if (!/^\d{1,6}$/.test(expires) || Number(expires) < 1 || Number(expires) > MAX_EXPIRES_S) {
    throw incomplete(`X-Amz-Expires must be seconds from 1 to ${MAX_EXPIRES_S}, not ${shown(expires)}`);
  }
  const hash = parameters.find(([name]) => name.toLowerCase() === 'x-amz-content-sha256');
  return {
    ...claimOf(one('X-Amz-Credential'), one('X-Amz-SignedHeaders'), one('X-Amz-Date')),
    expiresS: Number(expires),
    signature,
    canonicalQuery: canonicalQuery(parameters.filter(([name]) => name.toLowerCase() !== 'x-amz-signature')),
    queryContentHash: hash?.[1] ?? null,
  };
}

type CommonClaim = Pick<SignatureClaim, 'keyId' | 'scope' | 'timestamp' | 'signedAtMs' | 'signedHeaders'>;

function claimOf(credential: string, names: string, timestamp: string): CommonClaim {
  const [keyId = '', day = '', region = '', service = '', terminator, ...more] = credential.split('/');
  if (terminator === undefined || more.length > 0) {
    throw incomplete(
      `Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got ${shown(credential)}`,
    );
  }
  if (terminator !== TERMINATOR) {
    throw new AccessError(
      'InvalidSignatureException',
      `Credential should be scoped with a valid terminator: '${TERMINATOR}', not ${shown(terminator)}.`,
    );
  }
  const signedHeaders = names.split(';');
  if (
    signedHeaders.length > MAX_SIGNED_HEADERS ||
    signedHeaders.some((name) => !/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name))
  ) {
    throw incomplete(`SignedHeaders must be names in lower case, with ";" between them, not ${shown(names)}`);
  }
  const signedAtMs = timeOf(timestamp);
  if (signedAtMs === null) {
    throw incomplete(`Date must be in ISO-8601 'basic format'. Got ${shown(timestamp)}.`);
  }
  return { keyId, scope: { day, region, service }, timestamp, signedAtMs, signedHeaders };
}

/** In the form of `X-Amz-Date`; null: there is none. */
function dateHeader(headers: HeaderValues): string | null {
  const given = headers.get('x-amz-date');
  const [date, ...more] = given ?? headers.get('date') ?? [];
  if (date === undefined) return null;
  if (more.length > 0) throw incomplete('the date of the signature is there more than once; send it once');
  const time = given === undefined && /^[A-Z][a-z]{2}, /.test(date) ? Date.parse(date) : Number.NaN;
  return Number.isNaN(time) ? date : basicFormat(time);
}

/** A time in ms since the epoch, as signatures have it. */
export function basicFormat(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/[:-]|\.\d{3}/g, '');
}

function timeOf(timestamp: string): number | null {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(timestamp) ?? [];
  if (year === undefined) return null;
  const time = Date.parse(`${year}-${month ?? ''}-${day ?? ''}T${hour ?? ''}:${minute ?? ''}:${second ?? ''}Z`);
  return Number.isNaN(time) ? null : time;
}

function incomplete(message: string): AccessError {
  return new AccessError('IncompleteSignatureException', message);
}

function shown(text: string): string {
  return `'${text.slice(0, 200)}'`;
}
