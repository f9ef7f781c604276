/** Runs in snapctr. Paths of the configuration: what they count from, and what is there. */
import { readdirSync, statSync } from 'node:fs';
import { isAbsolute, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export type PathKind = 'file' | 'directory' | 'missing';

export interface ResolvedPath {
  readonly path: string;
  /** True if it was not beside the file that names it, but was found from the working directory. */
  readonly fromWorkingDirectory: boolean;
}

/** Looks at each path once, however many functions name it; and once into each directory. */
export class Paths {
  readonly #cwd: string;
  readonly #kinds = new Map<string, PathKind>();
  readonly #names = new Map<string, readonly string[]>();

  constructor(cwd: string) {
    this.#cwd = cwd;
  }

  kindOf(path: string): PathKind {
    const known = this.#kinds.get(path);
    if (known !== undefined) return known;
    const kind = look(path);
    this.#kinds.set(path, kind);
    return kind;
  }

  /**
   * A path or `file://localhost/…` URL as an absolute path. A relative one counts from `base`; the original counted from
   * the working directory, so one that exists only there is taken from there.
   *
   * @throws Error that says what is wrong with a URL.
   */
  resolve(value: string, base: string): ResolvedPath {
    const plain = /^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? pathOfUrl(value) : value;
    const path = resolve(base, plain);
    if (isAbsolute(plain) || this.kindOf(path) !== 'missing') return { path, fromWorkingDirectory: false };
    const habitual = resolve(this.#cwd, plain);
    return this.kindOf(habitual) === 'missing'
      ? { path, fromWorkingDirectory: false }
      : { path: habitual, fromWorkingDirectory: true };
  }

  /** What is in a directory; nothing if it cannot be read. */
  namesIn(directory: string): readonly string[] {
    const known = this.#names.get(directory);
    if (known !== undefined) return known;
    const names = list(directory);
    this.#names.set(directory, names);
    return names;
  }

  /** A path as messages show it: from the working directory, where it is below it. */
  shown(path: string): string {
    const short = relative(this.#cwd, path);
    return short === '' || short.startsWith('..') || isAbsolute(short) ? path : short;
  }
}

/** The path of a name below a directory; null if the name leads out of it. */
export function below(directory: string, name: string): string | null {
  const path = join(directory, name);
  return isAbsolute(name) || !path.startsWith(directory.endsWith(sep) ? directory : directory + sep) ? null : path;
}

function look(path: string): PathKind {
  try {
    return statSync(path).isDirectory() ? 'directory' : 'file';
  } catch {
    // A file in place of a directory on the way, or no right to look: nothing that could be used is there.
    return 'missing';
  }
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function pathOfUrl(value: string): string {
  try {
    return fileURLToPath(value);
  } catch {
    throw new Error(`must be a path or a URL such as file://localhost/path/to/file, not ${JSON.stringify(value)}`);
  }
}
