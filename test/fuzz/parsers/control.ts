/** Requests that bring a zip file: JSON of which a member in base64 is decoded on the way. */
import assert from 'node:assert/strict';
import {
  BlobJsonError,
  BlobJsonReader,
  type BlobJson,
  type BlobPath,
} from '../../../src/controller/gateway/lambda/control/blob-json.ts';
import { chunksOf, jsonString, jsonText, outcomeOf, parsedJson } from '../properties.ts';
import type { Random } from '../random.ts';
import type { ParserTarget } from '../target.ts';

const MAX_KEPT_BYTES = 4096;
const PATHS: readonly BlobPath[] = [['ZipFile'], ['Code', 'ZipFile']];
const SPACES = ['', '', ' ', '\n', '\t\r\n'] as const;

interface Read extends BlobJson {
  readonly blob: Buffer;
}

function read(path: BlobPath, chunks: readonly Buffer[]): Read {
  const reader = new BlobJsonReader(path, MAX_KEPT_BYTES);
  const pieces = chunks.flatMap((chunk) => reader.push(chunk));
  return { ...reader.end(), blob: Buffer.concat(pieces) };
}

/** The text with the member as plain JSON has it; undefined where it is not what a blob can be. */
function expected(
  path: BlobPath,
  input: Buffer,
): { readonly value: unknown; readonly blob: Buffer | null } | undefined {
  const parsed = parsedJson(input.toString('utf8'));
  if (parsed === undefined || !Buffer.from(input.toString('utf8')).equals(input)) return undefined;
  const names = [...path];
  const last = names.pop() ?? '';
  let holder: unknown = parsed.value;
  for (const name of names) holder = member(holder, name);
  const text = member(holder, last);
  if (typeof text !== 'string') return { value: parsed.value, blob: null };
  const bare = text.replace(/[ \t\r\n]/g, '');
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(bare)) return undefined;
  (holder as Record<string, unknown>)[last] = '';
  return { value: parsed.value, blob: Buffer.from(bare, 'base64') };
}

function member(value: unknown, name: string): unknown {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, name);
  return isObject ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

/** How often keys of the way are in it, in whatever writing: with several of them the reader may refuse what JSON allows. */
function keysIn(text: string): number {
  const plain = text.replace(/\\u([0-9a-fA-F]{4})/g, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
  return plain.split(/ZipFile|Code/).length - 1;
}

function base64(random: Random): string {
  const bytes = Buffer.from(Array.from({ length: random.below(40) }, () => random.below(256)));
  const text = bytes.toString('base64');
  if (random.oneIn(3)) return JSON.stringify(text).replaceAll('/', '\\/');
  if (random.oneIn(4)) return jsonString(random, text);
  return random.oneIn(4) ? JSON.stringify(text.replace(/(.{8})/g, '$1\n')) : JSON.stringify(text);
}

function object(random: Random, members: readonly (readonly [string, string])[]): string {
  const space = (): string => random.pick(SPACES);
  const all = [...members, ...Array.from({ length: random.below(3) }, () => [jsonString(random), jsonText(random, 2)])];
  if (random.oneIn(2)) all.reverse();
  return `{${all.map(([name = '', value = '']) => `${space()}${name}${space()}:${space()}${value}${space()}`).join(',')}}`;
}

const BLOB_JSON: ParserTarget = {
  name: 'blob-json',
  tokens: [
    '"ZipFile"',
    '"Code"',
    '"ZipFile":"',
    '"Code":{',
    '\\u005aipFile',
    '\\/',
    '\\u002f',
    '\\n',
    '\\"',
    '==',
    '"',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    'null',
  ],
  generate(random) {
    const zip = [[jsonString(random, 'ZipFile'), base64(random)]] as const;
    if (random.oneIn(2)) return Buffer.from(object(random, zip));
    return Buffer.from(object(random, [[jsonString(random, 'Code'), object(random, zip)]]));
  },
  check(input, { random, isValid }) {
    for (const path of PATHS) {
      const whole = outcomeOf([BlobJsonError], () => read(path, [input]));
      const inPieces = outcomeOf([BlobJsonError], () => read(path, chunksOf(input, random)));
      assert.deepEqual('value' in inPieces && inPieces.value, 'value' in whole && whole.value);
      const want = expected(path, input);
      if ('value' in whole) {
        assert.ok(want !== undefined);
        assert.deepEqual(whole.value.value, want.value);
        assert.deepEqual(whole.value.hasBlob ? whole.value.blob : null, want.blob);
      } else {
        if (isValid) throw whole.error;
        const mayRefuse = want === undefined || input.length > MAX_KEPT_BYTES || keysIn(input.toString()) > path.length;
        assert.ok(mayRefuse, whole.error.message);
      }
    }
  },
};

export const CONTROL_TARGETS: readonly ParserTarget[] = [BLOB_JSON];
