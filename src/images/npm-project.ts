/**
 * Runs in the builder and in `npm start`. What a function's `package.json` and `package-lock.json` would have npm do on the host,
 * looked at before npm runs. A package may come from a registry, from an https URL or from the function's own directory:
 *
 * ```
 *   git                          refused: npm starts git, and the scripts of what it brings
 *   http                         refused, unless that is a registry of the host's own npm configuration
 *   paths out of the directory   refused: npm reads them, links to them and writes below them
 * ```
 */
import { readFile } from 'node:fs/promises';
import { join, normalize, relative } from 'node:path';
import npa from 'npm-package-arg';
import { messageOf } from '../protocol/errors.ts';
import { codeOf } from '../storage/error-code.ts';
import { isInside, TreeError } from './tree.ts';

/** As npm looks for them: the first counts. */
export const LOCKS = ['npm-shrinkwrap.json', 'package-lock.json'] as const;
const MANIFEST = 'package.json';

/** Objects of names and where those packages come from. */
const DEPENDENCIES = [
  'dependencies',
  'devDependencies',
  'optionalDependencies',
  'peerDependencies',
  'acceptDependencies',
] as const;

/** What npm is told of a package. Not `scripts`, `config`, `packageManager` or `publishConfig`, which say how to do things. */
const PASSED_ON: ReadonlySet<string> = new Set([
  ...DEPENDENCIES,
  ...['name', 'version', 'bin', 'peerDependenciesMeta', 'bundleDependencies', 'bundledDependencies', 'overrides'],
  'workspaces',
]);

type JsonObject = Readonly<Record<string, unknown>>;

export interface NpmProject {
  /** What is to be in a file for npm, by its path: package.json of the function and of its local packages, the lock file. */
  readonly texts: ReadonlyMap<string, string>;
  /** Paths of local packages: directories, '' the function itself. */
  readonly directories: ReadonlySet<string>;
  /** Paths of local packages that are archives. */
  readonly archives: ReadonlySet<string>;
  /** URLs without encryption, each with what to call its package in an error. */
  readonly unencrypted: ReadonlyMap<string, string>;
}

/**
 * @param root a function's directory, with a lock file of npm. All links in it stay inside.
 * @param read the contents of a file at a path of the host.
 * @throws TreeError that names the package and says what to change.
 */
export async function readNpmProject(
  root: string,
  read: (path: string) => Promise<Buffer> = (path) => readFile(path),
): Promise<NpmProject> {
  const reader = new ProjectReader(root, read);
  await reader.readLock();
  await reader.readManifests();
  return reader;
}

class ProjectReader implements NpmProject {
  readonly texts = new Map<string, string>();
  readonly directories = new Set(['']);
  readonly archives = new Set<string>();
  readonly unencrypted = new Map<string, string>();
  readonly #root: string;
  readonly #read: (path: string) => Promise<Buffer>;
  #lock: string = LOCKS[0];

  constructor(root: string, read: (path: string) => Promise<Buffer>) {
    this.#root = root;
    this.#read = read;
  }

  async readLock(): Promise<void> {
    let lock: JsonObject | null = null;
    for (const name of LOCKS) {
      this.#lock = name;
      lock = await this.#parse(name);
      if (lock !== null) break;
    }
    if (lock === null) throw new TreeError(`${join(this.#root, this.#lock)} is missing`);
    for (const [path, entry] of this.#entries(this.#lock, 'packages', lock['packages']))
      this.#lockedPackage(path, entry);
    this.#lockedTree(lock['dependencies']);
    this.texts.set(this.#lock, JSON.stringify(lock));
  }

  /** Of the function, and of all local packages that are found on the way. */
  async readManifests(): Promise<void> {
    for (const directory of this.directories) {
      const file = join(directory, MANIFEST);
      const manifest = await this.#parse(file);
      if (manifest === null) continue;
      this.#dependencies(file, manifest, directory);
      this.#overrides(file, manifest['overrides']);
      this.#workspaces(file, manifest['workspaces']);
      const passedOn = Object.entries(manifest).filter(([key]) => PASSED_ON.has(key));
      this.texts.set(file, JSON.stringify(Object.fromEntries(passedOn)));
    }
  }

  /** An entry of `packages` (since version 2): `path` is where it is installed, or a local package. */
  #lockedPackage(path: string, entry: JsonObject): void {
    const called = `the package at "${path}"`;
    const directory = this.#inside(this.#lock, called, path);
    const installedAt = path.lastIndexOf('node_modules/');
    const name = installedAt === -1 ? '' : path.slice(installedAt + 'node_modules/'.length);
    if (installedAt === -1) this.directories.add(directory);
    else this.#name(called, name);
    const { resolved, version } = entry;
    if (entry['name'] !== undefined) this.#name(called, entry['name']);
    if (entry['link'] === true) {
      const target = typeof resolved === 'string' ? resolved : '';
      this.directories.add(this.#inside(this.#lock, called, target.replace(/^file:/, '')));
    } else if (installedAt !== -1) {
      for (const source of [resolved, version]) this.#source(this.#lock, name, source, '', 'exactly');
    }
    this.#dependencies(this.#lock, entry, directory);
  }

  /** An entry of `dependencies` (up to version 2), with what is installed below it. */
  #lockedTree(dependencies: unknown): void {
    for (const [name, entry] of this.#entries(this.#lock, 'dependencies', dependencies)) {
      this.#name(`the package "${name}"`, name);
      for (const source of [entry['resolved'], entry['version']]) this.#source(this.#lock, name, source, '', 'exactly');
      this.#sources(this.#lock, entry['requires'] === true ? undefined : entry['requires'], '');
      this.#lockedTree(entry['dependencies']);
    }
  }

  #dependencies(file: string, holder: JsonObject, directory: string): void {
    for (const key of DEPENDENCIES) this.#sources(file, holder[key], directory);
  }

  #sources(file: string, sources: unknown, directory: string): void {
    if (!isObject(sources)) return;
    for (const [name, source] of Object.entries(sources)) this.#source(file, name, source, directory, 'if npm can');
  }

  /** Objects of objects, with sources as values; "$NAME" is what the function itself depends on. */
  #overrides(file: string, overrides: unknown): void {
    if (!isObject(overrides)) return;
    for (const [key, value] of Object.entries(overrides)) {
      if (isObject(value)) this.#overrides(file, value);
      else if (typeof value === 'string' && !value.startsWith('$')) {
        this.#source(file, key.replace(/(?<=.)@.*$/, ''), value, '', 'if npm can');
      }
    }
  }

  #workspaces(file: string, workspaces: unknown): void {
    const patterns = isObject(workspaces) ? workspaces['packages'] : workspaces;
    for (const pattern of Array.isArray(patterns) ? patterns : []) {
      this.#inside(file, 'the workspace', String(pattern).replace(/^!/, ''));
    }
  }

  /**
   * @param source as in package.json, such as "^1.2.0"; none means that npm is told nothing.
   * @param strictly whether it is an error if npm could not make sense of it: packages of others depend on many things.
   */
  #source(file: string, name: string, source: unknown, directory: string, strictly: 'exactly' | 'if npm can'): void {
    if (typeof source !== 'string') return;
    const called = `the package "${name}"`;
    let found: npa.Result;
    try {
      found = npa.resolve(name, source, join(this.#root, directory));
    } catch (cause) {
      if (strictly === 'if npm can') return;
      throw this.#refusal(file, `${called} has a source that npm does not know (${messageOf(cause)})`, 'make it anew');
    }
    if (found.type === 'alias') found = (found as npa.AliasResult).subSpec;
    const { type, fetchSpec } = found;
    if (type === 'git') {
      const advice = 'take it from a registry, or copy its files into the directory and depend on "file:./…"';
      throw this.#refusal(file, `${called} comes from a git repository (${source}), and git is not run`, advice);
    }
    if (type === 'remote' && !source.toLowerCase().startsWith('https:')) this.unencrypted.set(source, called);
    if ((type !== 'file' && type !== 'directory') || fetchSpec === null) return;
    const path = this.#inside(file, called, relative(this.#root, fetchSpec));
    if (type === 'file') this.archives.add(path);
    else this.directories.add(path);
  }

  #name(called: string, name: unknown): void {
    if (typeof name === 'string' && /^(@[^@/\\:\s]+\/)?[^@/\\:\s]+$/.test(name) && !/^\.*$/.test(name)) return;
    throw this.#refusal(this.#lock, `${called} has a name that no package can have`, 'make it anew');
  }

  /** @returns the path without needless parts; '' for the directory itself. */
  #inside(file: string, called: string, path: string): string {
    const way = normalize(path === '' ? '.' : path).replace(/\/$/, '');
    if (!path.startsWith('/') && !path.startsWith('~') && isInside(this.#root, join(this.#root, way))) {
      return way === '.' ? '' : way;
    }
    throw this.#refusal(
      file,
      `${called} is outside of the function's directory (${path})`,
      'copy it into the directory',
    );
  }

  /** @returns null if there is none. */
  async #parse(file: string): Promise<JsonObject | null> {
    let value: unknown;
    try {
      const text = (await this.#read(join(this.#root, file))).toString('utf8');
      value = JSON.parse(text.replace(/^\uFEFF/, ''));
    } catch (cause) {
      if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes(codeOf(cause) ?? '')) return null;
      throw this.#refusal(file, `it is not JSON (${messageOf(cause)})`, 'mend it');
    }
    if (!isObject(value)) throw this.#refusal(file, 'it is not an object', 'mend it');
    return value;
  }

  #entries(file: string, key: string, value: unknown): readonly (readonly [string, JsonObject])[] {
    if (value === undefined) return [];
    if (!isObject(value)) throw this.#refusal(file, `"${key}" is not an object`, 'make it anew');
    return Object.entries(value).map(([name, entry]) => {
      if (isObject(entry)) return [name, entry];
      throw this.#refusal(file, `"${name}" in "${key}" is not an object`, 'make it anew');
    });
  }

  #refusal(file: string, problem: string, advice: string): TreeError {
    return new TreeError(`${join(this.#root, file)}: ${problem}; ${advice}`);
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
