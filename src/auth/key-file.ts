/**
 * Runs in snapctr. The file of keys: who may use the gateway, with the secrets themselves, for signatures cannot be checked with
 * less. So it is its owner's alone (mode 0600), written whole beside its place and then renamed.
 *
 * ```json
 * {"version": 1, "keys": [{"id": "SFAK…", "name": "ci", "role": "deploy", "functions": ["*"], "secret": "…", "created": "…"}]}
 * ```
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../protocol/errors.ts';
import { codeOf } from '../storage/error-code.ts';
import { withLock } from '../storage/lock.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { sync } from '../storage/sync.ts';
import { FUNCTION_PATTERN, ROLES, type Role } from './operations.ts';

export interface Key {
  /** What requests name it by: 20 characters, as AWS has it. */
  readonly id: string;
  /** What people name it by. */
  readonly name: string;
  readonly role: Role;
  /** Patterns of the functions that it is for. */
  readonly functions: readonly string[];
  readonly secret: string;
  /** ISO 8601. */
  readonly created: string;
}

/** The file cannot be used, or changed as asked; the message says what to do. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError';
}

const VERSION = 1;
/** Some thousand keys. */
const MAX_FILE_BYTES = 1024 * 1024;
const OTHERS = 0o077;
const ID = /^[A-Z0-9]{16,128}$/;
const ID_PREFIX = 'SFAK';
const ID_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
const SECRET = /^[A-Za-z0-9+/_=-]{32,128}$/;
const TEMPORARY = new OwnedNames('.snapfaas-keys-');

const keySchema = z.strictObject({
  id: z.string().regex(ID, 'must be 16 to 128 capital letters and digits'),
  name: z.string().regex(NAME, 'must be up to 64 letters, digits and ._@-'),
  role: z.enum(ROLES, `must be one of ${ROLES.join(', ')}`),
  functions: z.array(z.string().regex(FUNCTION_PATTERN, 'must be a name of functions, with * for any characters')),
  secret: z.string().regex(SECRET, 'must be 32 to 128 letters, digits and +/_=-'),
  created: z.string(),
});
const fileSchema = z.strictObject({ version: z.literal(VERSION), keys: z.array(keySchema) });

/**
 * @returns null if there is no such file.
 * @throws KeyFileError if others could read it, or it is not what it should be.
 */
export function readKeyFile(path: string): readonly Key[] | null {
  const text = readPrivately(path);
  return text === null ? null : parseKeys(path, text);
}

/** @throws KeyFileError if the name is taken or no name, or the file cannot be used or written. @returns the key, with its secret. */
export async function addKey(path: string, wish: Pick<Key, 'name' | 'role' | 'functions'>): Promise<Key> {
  if (!NAME.test(wish.name) || ID.test(wish.name)) {
    throw new KeyFileError(`${shown(wish.name)} is no name for a key; give up to 64 letters, digits and ._@-`);
  }
  for (const pattern of wish.functions) {
    if (!FUNCTION_PATTERN.test(pattern)) {
      throw new KeyFileError(
        `${shown(pattern)} means no functions; give names of functions, with * for any characters`,
      );
    }
  }
  const key: Key = {
    id: newId(),
    ...wish,
    secret: randomBytes(30).toString('base64url'),
    created: new Date().toISOString(),
  };
  await change(path, (keys) => {
    const taken = keys.find(({ name }) => name === wish.name);
    if (taken === undefined) return [...keys, key];
    throw new KeyFileError(
      `there is a key ${shown(wish.name)} already (${taken.id}); remove it, or choose another name`,
    );
  });
  return key;
}

/** @param nameOrId of the key. @returns what was removed. @throws KeyFileError if there is no such key. */
export async function removeKey(path: string, nameOrId: string): Promise<Key> {
  const removed: Key[] = [];
  await change(path, (keys) => {
    removed.push(...keys.filter(({ name, id }) => name === nameOrId || id === nameOrId));
    return keys.filter((key) => !removed.includes(key));
  });
  const [key] = removed;
  if (key === undefined)
    throw new KeyFileError(`there is no key ${shown(nameOrId)} in ${path}; see "snapctr keys list"`);
  return key;
}

async function change(path: string, update: (keys: readonly Key[]) => readonly Key[]): Promise<void> {
  const place = resolve(path);
  try {
    await withLock(`${place}.lock`, async () => {
      const keys = update(readKeyFile(place) ?? []);
      await write(place, `${JSON.stringify({ version: VERSION, keys }, null, 2)}\n`);
    });
  } catch (error) {
    if (error instanceof KeyFileError) throw error;
    throw new KeyFileError(`${path} cannot be written: ${messageOf(error)}`, { cause: error });
  }
}

async function write(path: string, text: string): Promise<void> {
  const directory = dirname(path);
  await TEMPORARY.removeAbandoned(directory);
  const temporary = join(directory, await TEMPORARY.make(randomUUID()));
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await sync(directory);
}

/** What was looked at is what is read: a name could lead elsewhere a moment later. */
function readPrivately(path: string): string | null {
  let file;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw new KeyFileError(`the file of keys ${path} ${unreadable(path, error)}`, { cause: error });
  }
  try {
    const { mode, uid, size, ...status } = fstatSync(file);
    const us = process.geteuid?.() ?? uid;
    const refused = (problem: string): KeyFileError => new KeyFileError(`the file of keys ${path} ${problem}`);
    if (!isFileMode(mode)) throw refused('is no regular file; name one with --keys');
    if (uid !== us) throw refused(`belongs to user ${uid}, not to us (${us}); "chown" gives it to us`);
    if ((mode & OTHERS) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, '0');
      throw refused(
        `can be used by others (mode ${octal}); "chmod 600 ${path}", and make new keys if anybody has read it`,
      );
    }
    if (size > MAX_FILE_BYTES) throw refused(`has ${size} bytes, over the limit of ${MAX_FILE_BYTES}`);
    if (status.nlink > 1) throw refused('has another name as well (a hard link); remove that one');
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

function isFileMode(mode: number): boolean {
  return (mode & constants.S_IFMT) === constants.S_IFREG;
}

function unreadable(path: string, error: unknown): string {
  if (codeOf(error) === 'ELOOP' && lstatSync(path).isSymbolicLink()) return 'is a symbolic link; name the file itself';
  return `cannot be read: ${messageOf(error)}`;
}

function parseKeys(path: string, text: string): readonly Key[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The words of the parser would quote secrets.
    throw new KeyFileError(
      `the file of keys ${path} is not JSON; restore it, or make a new one with "snapctr keys add"`,
    );
  }
  const version: unknown =
    typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined;
  if (typeof version === 'number' && version > VERSION) {
    throw new KeyFileError(
      `the file of keys ${path} is of version ${version}, made by a newer snapctr; this one knows ${VERSION}`,
    );
  }
  const parsed = fileSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue === undefined || issue.path.length === 0 ? 'it' : issue.path.map(String).join('.');
    throw new KeyFileError(`the file of keys ${path} is not right: ${where}: ${issue?.message ?? 'unknown'}`);
  }
  const { keys } = parsed.data;
  for (const [index, { id, name }] of keys.entries()) {
    const twin = keys.findIndex((other) => other.id === id || other.name === name);
    if (twin !== index)
      throw new KeyFileError(`the file of keys ${path} has two keys ${shown(name)}, or with its id; remove one`);
  }
  return keys;
}

function newId(): string {
  return ID_PREFIX + [...randomBytes(16)].map((byte) => ID_LETTERS[byte % ID_LETTERS.length] ?? '').join('');
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
