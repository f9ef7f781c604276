/**
 * Runs in snapctr and in firerunner. One request as bytes, checked and taken apart: both gateways of snapctr and a
 * standalone firerunner come through here.
 *
 * The payload is never parsed: it must reach the function byte for byte (its numbers, key order and whitespace included).
 * The bytes are checked to be JSON, then searched for the top-level members, duplicate keys included.
 */
import { isUtf8 } from 'node:buffer';
import { SnapfaasError, messageOf } from './errors.ts';
import { isJsonObject } from './json-scan.ts';
import { topLevelMembers } from './request-members.ts';

const ALLOWED_KEYS = ['function', 'payload', 'time', 'user_id'] as const;
const EXAMPLE = '{"function": "hello-python", "payload": {"name": "Ada"}}';
/** Longest name a function can have in the configuration. */
const MAX_NAME_LENGTH = 64;

export interface InvocationRequest {
  /** Name of the function to run. */
  readonly function: string;
  /** The event: the bytes of the JSON value as the client sent them. */
  readonly payload: Buffer;
  /** Milliseconds since the start of a request file; null where the client gave none. */
  readonly time: number | null;
  readonly userId: number | null;
}

export interface RequestOptions {
  /** Largest accepted request. */
  readonly maxPayloadBytes: number;
  /** Makes `function` optional: what it is when it is not there. */
  readonly defaultFunction?: string;
}

/**
 * One request from its JSON text: `{"function": string, "payload": any, "time"?: ms, "user_id"?: number}`.
 *
 * `payload` of the result is a view into `bytes`, not a copy.
 *
 * @param bytes the whole JSON text in UTF-8.
 * @throws SnapfaasError `payload_too_large`, or `bad_request` with what to change.
 */
export function parseRequest(bytes: Buffer, options: RequestOptions): InvocationRequest {
  if (bytes.length > options.maxPayloadBytes) throw requestTooLarge(options.maxPayloadBytes, bytes.length);
  checkObject(bytes);
  const value = new Map<string, unknown>();
  let payload: Buffer | undefined;
  for (const { key, start, end } of topLevelMembers(bytes)) {
    if (!isAllowed(key)) {
      throw bad(`unknown key ${quote(key)}; a request has the keys "function", "payload", "time" and "user_id"`);
    }
    if (value.has(key)) throw bad(`the key "${key}" is there twice; send it once`);
    if (key === 'payload') payload = bytes.subarray(start, end);
    value.set(key, key === 'payload' ? payload : JSON.parse(bytes.toString('utf8', start, end)));
  }
  const name = functionName(value.has('function') ? value.get('function') : options.defaultFunction);
  if (payload === undefined) throw bad(`the key "payload" is missing; send for example ${EXAMPLE}`);
  return {
    function: name,
    payload,
    time: wholeNumber('time', value.get('time')),
    userId: wholeNumber('user_id', value.get('user_id')),
  };
}

/** The one wording for a request over the limit. `bytes`: its size, where that is known. */
export function requestTooLarge(maxPayloadBytes: number, bytes?: number): SnapfaasError {
  const size = bytes === undefined ? 'the request' : `the request of ${bytes} bytes`;
  return new SnapfaasError('payload_too_large', `${size} is over the limit of ${maxPayloadBytes} bytes; send less`);
}

/** @throws SnapfaasError `bad_request` if the bytes are not a JSON object in UTF-8. */
function checkObject(bytes: Buffer): void {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    throw bad('the request begins with a byte order mark; send UTF-8 without one');
  }
  if (!isUtf8(bytes)) throw bad('the request is not valid UTF-8; send JSON in UTF-8');
  if (isJsonObject(bytes)) return;
  // What is wrong, `JSON.parse` knows best.
  const text = bytes.toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (text.trim() === '') throw bad(`the request is empty; send a JSON object such as ${EXAMPLE}`);
    throw bad(`the request is not valid JSON: ${messageOf(error)}`, error);
  }
  throw bad(`a request is a JSON object, not ${kindOf(value)}; send for example ${EXAMPLE}`);
}

function functionName(value: unknown): string {
  if (value === undefined) throw bad(`the key "function" is missing; send for example ${EXAMPLE}`);
  if (typeof value !== 'string') throw bad(`"function" must be a string, not ${kindOf(value)}`);
  if (value === '') throw bad('"function" is empty; give the name of a function');
  if (value.length > MAX_NAME_LENGTH) {
    throw bad(`"function" has ${value.length} characters; names have at most ${MAX_NAME_LENGTH}`);
  }
  return value;
}

function wholeNumber(key: 'time' | 'user_id', value: unknown): number | null {
  if (value === undefined) return null;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  const given = typeof value === 'number' ? String(value) : kindOf(value);
  throw bad(`"${key}" must be a whole number of at least 0, not ${given}; correct it or leave it out`);
}

function isAllowed(key: string): boolean {
  return (ALLOWED_KEYS as readonly string[]).includes(key);
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** A key as the client may see it again: short, and with control characters escaped. */
function quote(key: string): string {
  return JSON.stringify(key.length > 64 ? `${key.slice(0, 64)}…` : key);
}

function bad(message: string, cause?: unknown): SnapfaasError {
  return new SnapfaasError('bad_request', message, { cause });
}
