/**
 * Runs in snapctr. What a function answered, as an answer over HTTP: AWS's payload format 2.0. All of it is suspect: nothing that
 * could not stand in a header gets there, and whatever does not fit is told by `BadAnswer`.
 */
import { answer as wholeAnswer, type Answer, type HeaderList } from '../http-answer.ts';
import { isHopByHop, listedNames } from './headers.ts';

/** Says in a line what is wrong with a function's answer; for its log, not for its client. */
export class BadAnswer extends Error {
  override readonly name = 'BadAnswer';
}

/** What `awslambda.HttpResponseStream.from` says that the answer begins with. */
export const METADATA_TYPE = 'application/vnd.awslambda.http-integration-response';
/** The same of an application on a port: nothing is added to what it answered, and its length is its own to say. */
export const APPLICATION_TYPE = 'application/vnd.snapfaas.http-response';
/** Eight of them end the metadata. */
const METADATA_END = Buffer.alloc(8);
/** Of names and values together, and of the metadata of a stream: more is no use to any client. */
export const MAX_HEAD_BYTES = 64 * 1024;
/** RFC 9110, 5.6.2 and 5.5; Node writes values as latin1. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
/** Set by the gateway: a function's own would be taken for it. */
const RESERVED = /^(?:x-snapfaas-|x-amzn-requestid$|content-length$)/;

type Json = Readonly<Record<string, unknown>>;

/** Status and headers, where the body comes later. */
export interface Head {
  readonly status: number;
  readonly headers: HeaderList;
  /** Of the body, as an application has said in its headers; null: nobody has. The body has to keep to it. */
  readonly declaredBytes: number | null;
}

export type WholeAnswer = Answer & Pick<Head, 'declaredBytes'>;

/** Whether an answer begins with metadata. */
export function hasMetadata(contentType: string | null): boolean {
  return contentType === METADATA_TYPE || contentType === APPLICATION_TYPE;
}

/**
 * The answer in one piece.
 *
 * @param contentType as the runtime tells it; null: JSON.
 * @param isHead there is no body whose length could be compared.
 * @throws BadAnswer
 */
export function readResult(result: Buffer, contentType: string | null, isHead = false): WholeAnswer {
  if (hasMetadata(contentType)) {
    const end = metadataEnd(result, 0);
    if (end === null) throw new BadAnswer('its metadata does not end with eight zero bytes');
    const head = readMetadata(result.subarray(0, end), contentType);
    return sized(head, result.subarray(end + METADATA_END.length), isHead);
  }
  if (contentType !== null && contentType !== 'application/json') return sized(plainHead(contentType), result, isHead);
  const value = parse(result);
  if (!isObject(value) || !Object.hasOwn(value, 'statusCode')) {
    return { ...wholeAnswer(200, 'application/json', result), declaredBytes: null };
  }
  return sized(readHead(value, 'application/json'), readBody(value), isHead);
}

/** @returns where the zero bytes begin; null: they have not come. @param from where to begin looking. */
export function metadataEnd(bytes: Buffer, from: number): number | null {
  const at = bytes.indexOf(METADATA_END, Math.max(0, from));
  return at === -1 ? null : at;
}

export const METADATA_END_BYTES = METADATA_END.length;

/** @param bytes JSON. @param contentType whose metadata it is. @throws BadAnswer */
export function readMetadata(bytes: Buffer, contentType: string | null): Head {
  const value = parse(bytes);
  if (!isObject(value)) throw new BadAnswer('its metadata is no object');
  const withStatus = { ...value, statusCode: value['statusCode'] ?? 200 };
  return readHead(withStatus, contentType === APPLICATION_TYPE ? null : 'application/octet-stream');
}

/** Of a stream without metadata. */
export function plainHead(contentType: string | null): Head {
  const headers = ['content-type', printable(contentType ?? 'application/octet-stream')];
  return { status: 200, headers, declaredBytes: null };
}

/** @param defaultType of the body, where none is told; null: it is an application's own answer, and stays without. */
function readHead(value: Json, defaultType: string | null): Head {
  const status = readStatus(value['statusCode']);
  const given = value['headers'] ?? {};
  if (!isObject(given)) throw new BadAnswer(`\`headers\` must be an object of strings, not ${shown(given)}`);
  const all = Object.entries(given).map(([name, one]) => [name, readValue(name, one)] as const);
  const listed = listedNames(all.flatMap(([name, text]) => (name.toLowerCase() === 'connection' ? [text] : [])).join());
  // Of names that differ in capitals alone the last one counts: a client could take either. Cookies are the exception in HTTP as well.
  const fields = new Map<string, string>();
  const cookies: string[] = [];
  let declaredBytes: number | null = null;
  for (const [name, text] of all) {
    const lower = name.toLowerCase();
    if (lower === 'content-length' && defaultType === null) declaredBytes = readLength(text);
    if (isHopByHop(lower, listed) || RESERVED.test(lower)) continue;
    if (lower === 'set-cookie') cookies.push(text);
    else fields.set(lower, text);
  }
  const headers = [...fields].flat();
  for (const cookie of [...cookies, ...readCookies(value['cookies'])]) headers.push('set-cookie', cookie);
  if (defaultType !== null && !fields.has('content-type') && hasBody(status)) {
    headers.unshift('content-type', defaultType);
  }
  const bytes = headers.reduce((sum, { length }) => sum + length, 0);
  if (bytes > MAX_HEAD_BYTES) throw new BadAnswer(`its headers have ${bytes} bytes, more than ${MAX_HEAD_BYTES}`);
  const length = sentLength(status, declaredBytes);
  if (length !== null) headers.push('content-length', String(length));
  return { status, headers, declaredBytes: hasBody(status) ? declaredBytes : null };
}

/** RFC 9110, 8.6: of 304 it is that of the answer which the client has; 15.3.6: 205 says that there is none. */
function sentLength(status: number, declaredBytes: number | null): number | null {
  if (status === 205) return 0;
  return status === 204 ? null : declaredBytes;
}

function readLength(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new BadAnswer(`its content-length is no length: ${shown(text)}`);
}

function readStatus(value: unknown): number {
  const status = typeof value === 'string' && /^\d{3}$/.test(value) ? Number(value) : value;
  if (typeof status === 'number' && Number.isInteger(status) && status >= 200 && status <= 599) return status;
  throw new BadAnswer(`\`statusCode\` must be a number from 200 to 599, not ${shown(value)}`);
}

function readValue(name: string, value: unknown): string {
  if (!TOKEN.test(name)) throw new BadAnswer(`${shown(name)} is no name of a header`);
  const text = scalar(value);
  if (text === null) throw new BadAnswer(`the header ${shown(name)} must be a string, not ${shown(value)}`);
  if (!VALUE.test(text)) throw new BadAnswer(`the header ${shown(name)} has characters that no header can have`);
  return text;
}

function readCookies(value: unknown): readonly string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new BadAnswer(`\`cookies\` must be a list of strings, not ${shown(value)}`);
  return value.map((one: unknown) => {
    if (typeof one === 'string' && VALUE.test(one)) return one;
    throw new BadAnswer(`a cookie must be a string of characters that a header can have, not ${shown(one)}`);
  });
}

function readBody(value: Json): Buffer {
  const body = value['body'] ?? '';
  const isBase64 = value['isBase64Encoded'] ?? false;
  if (typeof isBase64 !== 'boolean') {
    throw new BadAnswer(`\`isBase64Encoded\` must be true or false, not ${shown(isBase64)}`);
  }
  const text = scalar(body);
  if (text === null) throw new BadAnswer(`\`body\` must be a string, not ${shown(body)}; serialise it as JSON`);
  if (!isBase64) return Buffer.from(text);
  if (!BASE64.test(text) || text.replace(/=+$/, '').length % 4 === 1) throw new BadAnswer('`body` is no base64');
  return Buffer.from(text, 'base64');
}

/** Numbers and booleans are taken by their text, as AWS does. */
function scalar(value: unknown): string | null {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : null;
}

/** Statuses 204, 205 and 304 have no body. */
export function hasBody(status: number): boolean {
  return status !== 204 && status !== 205 && status !== 304;
}

function sized(head: Head, body: Buffer, isHead: boolean): WholeAnswer {
  if (!hasBody(head.status)) return { ...head, body: Buffer.alloc(0) };
  const { declaredBytes } = head;
  if (declaredBytes === null)
    return { ...head, headers: [...head.headers, 'content-length', String(body.length)], body };
  if (!isHead && declaredBytes !== body.length) {
    throw new BadAnswer(`its body has ${body.length} bytes, and its content-length says ${declaredBytes}`);
  }
  return { ...head, body };
}

function printable(contentType: string): string {
  return /^[\x20-\x7e]{1,256}$/.test(contentType) ? contentType : 'application/octet-stream';
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new BadAnswer('it is not JSON');
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  return text === undefined ? typeof value : text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
