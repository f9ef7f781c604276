/**
 * Runs in snapctr. The keys that hold now: those of the file, which is looked at again every second in which somebody asks.
 *
 * ```
 *   no file ──it appears──▶ keys ──it changes──▶ other keys
 *                            └── it is gone, or cannot be used: the keys stay as they were, with a warning
 * ```
 *
 * There is no way back to no keys but a restart: whoever loses the file must not open the gateway.
 */
import type { KeyObject } from 'node:crypto';
import { messageOf } from '../protocol/errors.ts';
import { fileIdentity } from '../storage/file-identity.ts';
import { readKeyFile, type Key } from './key-file.ts';
import { matchesPattern } from './operations.ts';
import { hashHex, scopeText, signingKey, type Scope } from './sigv4/signature.ts';

/** A request presigned for a week may be of any of its days. */
const MAX_DAYS = 9;

/** A key with what is made of it once. */
export class KnownKey {
  readonly key: Key;
  /** Of its bearer token, in hex. */
  readonly tokenHash: string;
  readonly #exact: ReadonlySet<string>;
  readonly #patterns: readonly string[];
  readonly #days = new Map<string, KeyObject>();

  constructor(key: Key) {
    this.key = key;
    this.tokenHash = hashHex(key.secret);
    this.#exact = new Set(key.functions.filter((pattern) => !pattern.includes('*')));
    this.#patterns = key.functions.filter((pattern) => pattern.includes('*'));
  }

  isFor(functionName: string): boolean {
    return this.#exact.has(functionName) || this.#patterns.some((pattern) => matchesPattern(pattern, functionName));
  }

  /** @param scope whose day is near, so that few are asked for. */
  signingKey(scope: Scope): KeyObject {
    const day = scopeText(scope);
    const known = this.#days.get(day);
    if (known !== undefined) return known;
    if (this.#days.size >= MAX_DAYS) this.#days.clear();
    const made = signingKey(this.key.secret, scope);
    this.#days.set(day, made);
    return made;
  }
}

export type KeyRing = ReadonlyMap<string, KnownKey>;

export interface KeyChange {
  readonly added: readonly Key[];
  readonly removed: readonly Key[];
}

export interface WatchedKeysOptions {
  readonly path: string;
  readonly onChange: (change: KeyChange) => void;
  /** The file cannot be used; what was read before holds. */
  readonly onProblem: (message: string) => void;
  /** How long what was seen of the file is believed, in ms. */
  readonly recheckMs?: number;
}

const RECHECK_MS = 1000;

export class WatchedKeys {
  readonly path: string;
  readonly #options: WatchedKeysOptions;
  readonly #recheckMs: number;
  #ring: KeyRing | null = null;
  #seen: string | null = null;
  #checkedAt = -Infinity;
  #problem: string | null = null;

  /** @throws KeyFileError if there is a file that cannot be used. */
  constructor(options: WatchedKeysOptions) {
    this.path = options.path;
    this.#options = options;
    this.#recheckMs = options.recheckMs ?? RECHECK_MS;
    this.#checkedAt = performance.now();
    this.#seen = identityOf(this.path);
    const keys = readKeyFile(this.path);
    if (keys !== null) this.#ring = ringOf(keys);
  }

  /** By id; null: there never was a file of keys, so everybody may do everything. */
  get current(): KeyRing | null {
    const now = performance.now();
    if (now - this.#checkedAt < this.#recheckMs) return this.#ring;
    this.#checkedAt = now;
    const seen = identityOf(this.path);
    // A file that cannot be used is looked at again: a change of its mode is none of its contents.
    if (seen !== this.#seen || this.#problem !== null) this.#read(seen);
    return this.#ring;
  }

  #read(seen: string | null): void {
    try {
      const keys = readKeyFile(this.path);
      if (keys === null) {
        if (this.#ring !== null) this.#tell(`the file of keys ${this.path} is gone; restore it`);
        return;
      }
      const before = this.#ring ?? new Map<string, KnownKey>();
      this.#ring = ringOf(keys);
      this.#seen = seen;
      this.#problem = null;
      this.#options.onChange(difference(before, this.#ring));
    } catch (error) {
      this.#tell(messageOf(error));
      // It is there: whoever put it there wants keys, so nobody has any.
      this.#ring ??= new Map();
    }
  }

  #tell(problem: string): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#options.onProblem(`${problem}; until then the keys stay as they were`);
  }
}

function ringOf(keys: readonly Key[]): KeyRing {
  return new Map(keys.map((key) => [key.id, new KnownKey(key)]));
}

function difference(before: KeyRing, after: KeyRing): KeyChange {
  const isIn = (ring: KeyRing, key: Key): boolean => JSON.stringify(ring.get(key.id)?.key) === JSON.stringify(key);
  return {
    added: [...after.values()].map(({ key }) => key).filter((key) => !isIn(before, key)),
    removed: [...before.values()].map(({ key }) => key).filter((key) => !isIn(after, key)),
  };
}

function identityOf(path: string): string | null {
  try {
    return fileIdentity(path);
  } catch {
    return null;
  }
}
