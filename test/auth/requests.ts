/** Signed requests for tests, made by a signer of their own: what clients do, not what the server's code does. */
import { createHash, createHmac } from 'node:crypto';
import { openWhole } from '../../src/auth/body-opener.ts';
import { Authenticator } from '../../src/auth/authenticator.ts';
import type { Key } from '../../src/auth/key-file.ts';
import { KnownKey } from '../../src/auth/keyring.ts';

export const KEY: Key = {
  id: 'SFAKAAAAAAAAAAAAAAAA',
  name: 'test',
  role: 'admin',
  functions: ['*'],
  secret: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  created: '2026-01-01T00:00:00.000Z',
};
/** What the clock of the server says, in ms. */
export const NOW = Date.UTC(2026, 0, 2, 3, 4, 5);

export function authenticator(
  keys: readonly Key[] | null,
  options: { readonly now?: number; readonly region?: string } = {},
): Authenticator {
  const ring = keys === null ? null : new Map(keys.map((key) => [key.id, new KnownKey(key)]));
  const { now = NOW, region = 'us-east-1' } = options;
  return new Authenticator({ keys: () => ring, region, now: () => now });
}

export interface TestRequest {
  readonly method: string;
  readonly target: string;
  /** Names and values in turn, as `node:http` gives them. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

const hex = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest();

/** The time of a signature. */
export function stamp(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/[:-]|\.\d+/g, '');
}

export function daysKey(secret: string, day: string, region = 'us-east-1', service = 'lambda'): Buffer {
  return hmac(hmac(hmac(hmac(`AWS4${secret}`, day), region), service), 'aws4_request');
}

export interface SignOptions {
  readonly key?: Pick<Key, 'id' | 'secret'>;
  readonly at?: number;
  readonly region?: string;
  readonly service?: string;
  /** Value of `x-amz-content-sha256`; `null`: the header is not sent and the body's hash signed, as boto3 does. */
  readonly contentHash?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request whose path needs no encoding and whose query is in order already. */
export function signed(method: string, target: string, body: string, options: SignOptions = {}): TestRequest {
  const { key = KEY, at = NOW, region = 'us-east-1', service = 'lambda' } = options;
  const hash = options.contentHash === undefined ? hex(body) : options.contentHash;
  const headers: Record<string, string> = {
    host: 'localhost',
    'x-amz-date': stamp(at),
    ...(hash === null ? {} : { 'x-amz-content-sha256': hash }),
    ...(body === '' ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
    ...options.headers,
  };
  const names = Object.keys(headers).sort();
  const [path = '', query = ''] = target.split('?');
  const lines = names.map((name) => `${name}:${headers[name] ?? ''}\n`).join('');
  const canonical = [method, path.replaceAll('%', '%25'), query, lines, names.join(';'), hash ?? hex(body)].join('\n');
  const day = stamp(at).slice(0, 8);
  const scope = `${day}/${region}/${service}/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', stamp(at), scope, hex(canonical)].join('\n');
  const signature = hmac(daysKey(key.secret, day, region, service), text).toString('hex');
  const authorization = `AWS4-HMAC-SHA256 Credential=${key.id}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  const rawHeaders = [...Object.entries(headers).flat(), 'authorization', authorization];
  return { method, target, rawHeaders, body: Buffer.from(body) };
}

/** A signed body in chunks of 8 KiB. @param seed the signature of the head. */
export function signedChunks(data: Buffer, seed: string, options: { readonly trailer?: string } = {}): Buffer {
  const [day, scope] = [stamp(NOW).slice(0, 8), `${stamp(NOW).slice(0, 8)}/us-east-1/lambda/aws4_request`];
  const key = daysKey(KEY.secret, day);
  let previous = seed;
  const parts: Buffer[] = [];
  for (let at = 0; ; at += 8192) {
    const piece = data.subarray(at, at + 8192);
    const text = ['AWS4-HMAC-SHA256-PAYLOAD', stamp(NOW), scope, previous, hex(''), hex(piece)].join('\n');
    previous = hmac(key, text).toString('hex');
    parts.push(Buffer.from(`${piece.length.toString(16)};chunk-signature=${previous}\r\n`), piece);
    if (piece.length === 0) break;
    parts.push(Buffer.from('\r\n'));
  }
  if (options.trailer !== undefined) {
    const text = ['AWS4-HMAC-SHA256-TRAILER', stamp(NOW), scope, previous, hex(`${options.trailer}\n`)].join('\n');
    parts.push(Buffer.from(`${options.trailer}\r\nx-amz-trailer-signature:${hmac(key, text).toString('hex')}\r\n`));
  }
  parts.push(Buffer.from('\r\n'));
  return Buffer.concat(parts);
}

/** The signature in the header of a request. */
export function signatureOf(request: TestRequest): string {
  return /Signature=([0-9a-f]{64})/.exec(request.rawHeaders.at(-1) ?? '')?.[1] ?? '';
}

/** All that a server does with a request before it runs anything. @returns the body that is meant. */
export function checkWhole(auth: Authenticator, request: TestRequest, service?: string): Buffer {
  return openWhole(auth.authenticate(request, request.target, service).bodyOpener(), request.body);
}
