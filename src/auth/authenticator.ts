/**
 * Runs in snapctr. Finds out who sends a request: by an AWS signature (header or presigned), or by `Authorization: Bearer ID.SECRET`.
 * All that can be checked is checked before the body is taken.
 */
import { createHash } from 'node:crypto';
import { AccessError } from './access-error.ts';
import type { BodyOpener } from './body-opener.ts';
import { ANYBODY, KeyHolder, WHOLE, type Caller, type Proof } from './caller.ts';
import { KnownKey, type KeyRing } from './keyring.ts';
import {
  canonicalHeaders,
  canonicalPath,
  headerValues,
  type HeaderValues,
  type RequestHead,
} from './sigv4/canonical-request.ts';
import { basicFormat, signatureClaim, type SignatureClaim } from './sigv4/claim.ts';
import { ALGORITHM, EMPTY_HASH, hashHex, isSame, scopeText, sign } from './sigv4/signature.ts';
import { ChunkOpener, SIGNED_CHUNKS } from './sigv4/signed-chunks.ts';

export interface AuthenticatorOptions {
  /** Null: there are none, and everybody may do everything. */
  readonly keys: () => KeyRing | null;
  /** What signatures have to be for. */
  readonly region: string;
  /** ms since the epoch. */
  readonly now: () => number;
}

/** By the name that AWS's clients sign for. */
const LAMBDA_SERVICE = 'lambda';
/** How far the clocks of client and server may be apart, in ms. */
export const MAX_SKEW_MS = 5 * 60 * 1000;
const UNSIGNED = 'UNSIGNED-PAYLOAD';
/** Headers of AWS that come without being signed: the token of temporary credentials, which mean nothing here. */
const UNSIGNED_HEADERS: ReadonlySet<string> = new Set(['x-amz-security-token']);
const BEARER = /^bearer[\t ]+/i;
/** In place of a key that is not there: to look takes as long. */
const NOBODY = new KnownKey({ id: '', name: '', role: 'invoke', functions: [], secret: 'none', created: '' });

const MISMATCH =
  'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and ' +
  'signing method. Consult the service documentation for details.';

export class Authenticator {
  readonly #options: AuthenticatorOptions;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** Whether anybody needs a key by now. */
  get needsKeys(): boolean {
    return this.#options.keys() !== null;
  }

  /**
   * @param target of the request, from its path on.
   * @param service that a signature has to be for.
   * @throws AccessError if it is nobody's that is known.
   */
  authenticate(head: RequestHead, target: string, service = LAMBDA_SERVICE): Caller {
    const keys = this.#options.keys();
    if (keys === null) return ANYBODY;
    const headers = headerValues(head.rawHeaders);
    const [authorization, ...more] = headers.get('authorization') ?? [];
    if (authorization !== undefined && more.length === 0 && BEARER.test(authorization)) {
      return bearer(keys, authorization.replace(BEARER, ''));
    }
    const mark = target.indexOf('?');
    const query = mark === -1 ? '' : target.slice(mark + 1);
    const claim = signatureClaim(headers, query);
    if (claim === null) {
      throw new AccessError('MissingAuthenticationTokenException', 'Missing Authentication Token');
    }
    this.#checkScope(claim, service);
    this.#checkTime(claim);
    const path = mark === -1 ? target : target.slice(0, mark);
    const known = keys.get(claim.keyId);
    const proof = prove(known ?? NOBODY, claim, { method: head.method ?? '', path, headers }, known !== undefined);
    if (known === undefined) {
      throw new AccessError('UnrecognizedClientException', 'The security token included in the request is invalid.');
    }
    return new KeyHolder(known, proof);
  }

  #checkScope({ scope, timestamp }: SignatureClaim, service: string): void {
    const { region } = this.#options;
    if (scope.region !== region) {
      throw mismatch(`Credential should be scoped to a valid region: '${region}', not '${scope.region.slice(0, 64)}'.`);
    }
    if (scope.service !== service) {
      throw mismatch(`Credential should be scoped to correct service: '${service}'.`);
    }
    if (scope.day !== timestamp.slice(0, 8)) {
      throw mismatch(`Date in Credential scope does not match the date of the request, ${timestamp}.`);
    }
  }

  #checkTime({ signedAtMs, timestamp, expiresS }: SignatureClaim): void {
    const now = this.#options.now();
    const [shownNow, limit] = [basicFormat(now), MAX_SKEW_MS / 60_000];
    if (signedAtMs > now + MAX_SKEW_MS) {
      const latest = basicFormat(now + MAX_SKEW_MS);
      throw mismatch(
        `Signature not yet current: ${timestamp} is still later than ${latest} (${shownNow} + ${limit} min.)`,
      );
    }
    const endMs = expiresS === null ? signedAtMs + MAX_SKEW_MS : signedAtMs + expiresS * 1000;
    if (now <= endMs) return;
    if (expiresS !== null) throw mismatch(`Signature expired: ${basicFormat(endMs)} is now earlier than ${shownNow}`);
    const earliest = basicFormat(now - MAX_SKEW_MS);
    throw mismatch(`Signature expired: ${timestamp} is now earlier than ${earliest} (${shownNow} - ${limit} min.)`);
  }
}

function bearer(keys: KeyRing, token: string): Caller {
  const dot = token.indexOf('.');
  const known = dot === -1 ? undefined : keys.get(token.slice(0, dot));
  const isRight = isSame((known ?? NOBODY).tokenHash, hashHex(token.slice(dot + 1).trim()));
  if (known !== undefined && isRight) return new KeyHolder(known, WHOLE);
  throw new AccessError('UnrecognizedClientException', 'the bearer token is none of the keys; it is ID.SECRET of one');
}

interface SignedParts {
  readonly method: string;
  readonly path: string;
  readonly headers: HeaderValues;
}

/** @param isKnown false: the result does not matter. @throws AccessError for a signature that does not match. */
function prove(
  known: KnownKey,
  claim: SignatureClaim,
  { method, path, headers }: SignedParts,
  isKnown: boolean,
): Proof {
  checkSignedHeaders(claim, headers);
  const lines = canonicalHeaders(headers, claim.signedHeaders);
  if (lines === null) throw mismatch('SignedHeaders names headers that the request does not have.');
  const front = `${method}\n${canonicalPath(path)}\n${claim.canonicalQuery}\n${lines}\n${claim.signedHeaders.join(';')}\n`;
  const key = known.signingKey(claim.scope);
  const scope = scopeText(claim.scope);
  const check = (contentHash: string): void => {
    const signature = sign(key, ALGORITHM, [claim.timestamp, scope, hashHex(front + contentHash)]);
    if (!isSame(signature, claim.signature) && isKnown) throw mismatch(MISMATCH);
  };
  const declared = contentHash(claim, headers);
  if (declared === null) {
    if (hasBody(headers)) return { isWhole: false, bodyOpener: () => new HashedBody(check) };
    check(EMPTY_HASH);
    return WHOLE;
  }
  const chunks = SIGNED_CHUNKS.get(declared);
  if (chunks === undefined && declared !== UNSIGNED && !/^[0-9a-f]{64}$/.test(declared)) {
    throw mismatch(
      `x-amz-content-sha256 must be a SHA-256 in hex, ${[UNSIGNED, ...SIGNED_CHUNKS.keys()].join(' or ')}.`,
    );
  }
  check(declared);
  if (declared === UNSIGNED) return WHOLE;
  if (chunks !== undefined) {
    const seed = { key, timestamp: claim.timestamp, scope, signature: claim.signature, ...chunks };
    return { isWhole: true, bodyOpener: () => new MeasuredBody(new ChunkOpener(seed), headers) };
  }
  return { isWhole: true, bodyOpener: () => new HashedBody((hash) => checkHash(hash, declared)) };
}

/** What is not signed could have been added by anybody on the way. */
function checkSignedHeaders({ signedHeaders }: SignatureClaim, headers: HeaderValues): void {
  const signed = new Set(signedHeaders);
  if (!signed.has('host')) throw mismatch("'Host' must be a 'SignedHeader' in the AWS Authorization.");
  if (!headers.has('x-amz-date') && headers.has('date') && headers.has('authorization') && !signed.has('date')) {
    throw mismatch("'Date' must be a 'SignedHeader' in the AWS Authorization.");
  }
  for (const name of headers.keys()) {
    if (name.startsWith('x-amz-') && !signed.has(name) && !UNSIGNED_HEADERS.has(name)) {
      throw mismatch(`There were headers present in the request which were not signed: ${name}.`);
    }
  }
}

/** Null: the client says nothing of the body, and signs its hash. */
function contentHash({ queryContentHash }: SignatureClaim, headers: HeaderValues): string | null {
  const [value, ...more] = headers.get('x-amz-content-sha256') ?? [];
  if (more.length > 0) throw mismatch('x-amz-content-sha256 is there more than once; send it once.');
  return value?.trim() ?? queryContentHash;
}

function hasBody(headers: HeaderValues): boolean {
  const [length = '0'] = headers.get('content-length') ?? [];
  return length !== '0' || headers.has('transfer-encoding');
}

/** Hands the hash of the body on when that has come. */
class HashedBody implements BodyOpener {
  readonly #check: (hash: string) => void;
  readonly #hash = createHash('sha256');

  constructor(check: (hash: string) => void) {
    this.#check = check;
  }

  push(piece: Buffer): readonly Buffer[] {
    this.#hash.update(piece);
    return [piece];
  }

  end(): void {
    this.#check(this.#hash.digest('hex'));
  }
}

function checkHash(hash: string, declared: string): void {
  if (!isSame(declared, hash)) throw mismatch('The body is not the one that x-amz-content-sha256 has the hash of.');
}

/** Of what is in chunks, the length is told as well. */
class MeasuredBody implements BodyOpener {
  readonly #opener: BodyOpener;
  readonly #declared: string | undefined;
  #bytes = 0;

  constructor(opener: BodyOpener, headers: HeaderValues) {
    this.#opener = opener;
    this.#declared = headers.get('x-amz-decoded-content-length')?.[0];
  }

  push(piece: Buffer): readonly Buffer[] {
    const opened = this.#opener.push(piece);
    for (const { length } of opened) this.#bytes += length;
    return opened;
  }

  end(): void {
    this.#opener.end();
    const declared = this.#declared;
    if (declared === undefined || declared === String(this.#bytes)) return;
    throw mismatch(
      `x-amz-decoded-content-length says ${declared.slice(0, 20)}, and the body has ${this.#bytes} bytes.`,
    );
  }
}

function mismatch(message: string): AccessError {
  return new AccessError('InvalidSignatureException', message);
}
