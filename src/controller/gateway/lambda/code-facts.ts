/**
 * Runs in snapctr. What the API tells of a function's code and runtime; looked up once for each, when it is first asked.
 * Invocations go on meanwhile: an app may have a hundred thousand files.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { RUNTIMES, UNKNOWN_RUNTIME } from '../../../protocol/runtimes.ts';
import type { FunctionVersion } from '../../../registry/function-version.ts';

export interface CodeFacts {
  readonly bytes: number;
  /** Changes when the files do; base64. */
  readonly sha256: string;
  readonly modified: Date;
  /** As AWS names it, such as "nodejs24.x". */
  readonly runtime: string;
}

/** Where the interpreters are: in the images, or on the host for plain processes. */
export type Interpreters = 'images' | 'host';

export class CodeFactsCache {
  readonly #interpreters: Interpreters;
  readonly #known = new WeakMap<FunctionVersion, Promise<CodeFacts>>();
  readonly #runtimes = new Map<string, Promise<string>>();

  constructor(interpreters: Interpreters) {
    this.#interpreters = interpreters;
  }

  of(fn: FunctionVersion): Promise<CodeFacts> {
    return once(this.#known, fn, async () => ({ ...(await filesOf(fn)), runtime: await this.#runtimeOf(fn) }));
  }

  #runtimeOf({ runtime, runtimefsPath }: FunctionVersion): Promise<string> {
    const isOnHost = this.#interpreters === 'host';
    return once(this.#runtimes, `${runtime} ${isOnHost ? '' : runtimefsPath}`, async () => {
      if (runtime === null) return UNKNOWN_RUNTIME.awsName(null);
      const { awsName, host, versionPackage } = RUNTIMES[runtime];
      if (versionPackage === null) return awsName(null);
      if (!isOnHost) return awsName(await imageVersion(runtimefsPath, versionPackage));
      return awsName(host === null ? null : await hostVersion(host.interpreter));
    });
  }
}

/** What a map does, and a weak one. */
interface Known<K, T> {
  get(key: K): Promise<T> | undefined;
  set(key: K, value: Promise<T>): unknown;
  delete(key: K): boolean;
}

/** All who ask share one search; one that failed is tried again by whoever asks next. */
function once<K, T>(known: Known<K, T>, key: K, search: () => Promise<T>): Promise<T> {
  let found = known.get(key);
  if (found === undefined) {
    found = search();
    known.set(key, found);
    found.catch(() => known.delete(key));
  }
  return found;
}

async function filesOf({ appfs, runtimefsPath }: FunctionVersion): Promise<Omit<CodeFacts, 'runtime'>> {
  const hash = createHash('sha256');
  let bytes = 0;
  let modifiedMs = 0;
  for await (const { path, size, mtimeMs } of filesBelow(appfs?.path ?? runtimefsPath)) {
    hash.update(`${path}\0${size}\0${mtimeMs}\0`);
    bytes += size;
    modifiedMs = Math.max(modifiedMs, mtimeMs);
  }
  return { bytes, sha256: hash.digest('base64'), modified: new Date(modifiedMs) };
}

interface FoundFile {
  readonly path: string;
  readonly size: number;
  readonly mtimeMs: number;
}

/** The file itself, or all below a directory, always in the same order; nothing if there is none. */
async function* filesBelow(path: string): AsyncGenerator<FoundFile> {
  const kind = await statOrNone(path);
  if (kind === null) return;
  if (!kind.isDirectory()) {
    yield { path, size: kind.size, mtimeMs: kind.mtimeMs };
    return;
  }
  const entries = await readdir(path, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.isDirectory() || entry.isFile()) yield* filesBelow(join(path, entry.name));
  }
}

async function statOrNone(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function hostVersion(interpreter: string | null): Promise<string | null> {
  if (interpreter === null) return null;
  try {
    const { stdout } = await promisify(execFile)(interpreter, ['--version'], { timeout: 5000 });
    return /\d+(\.\d+)+/.exec(stdout)?.[0] ?? null;
  } catch {
    return null;
  }
}

/** The manifest beside an image names the packages that it was made of. */
async function imageVersion(image: string, versionPackage: string): Promise<string | null> {
  try {
    const manifest = JSON.parse(await readFile(`${image}.json`, 'utf8')) as {
      inputs?: { packages?: Readonly<Record<string, unknown>> };
    };
    const version = manifest.inputs?.packages?.[versionPackage];
    return typeof version === 'string' ? version : null;
  } catch {
    // An image from elsewhere has none.
    return null;
  }
}
