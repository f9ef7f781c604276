/**
 * Runs in tests. Writes executables named `firecracker` and `jailer` that behave as the real ones do at the border of the
 * process, see README.md.
 *
 * The fake's modules are bundled once, so that a process of it starts in about 50 ms, and kept with the guest's runtimes in
 * a directory named by a digest of all of them, which every user may read: a jailed fake is not root.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { buildNodeRuntime } from '../guest-process.ts';
import { quoted } from './jailer.ts';
import { apiDocument } from './validate-request.ts';

const PROJECT_ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const ENTRY = fileURLToPath(new URL('bundle-entry.ts', import.meta.url));
const PYTHON_RUNTIME = join(PROJECT_ROOT, 'guest/runtimes/python');
const NODE_RUNTIME = join(PROJECT_ROOT, 'dist/guest/node');

const HOME_NAME = /^fake-firecracker-[0-9a-f]{16}(\.[0-9a-f]{8})?$/;
/** A test that runs uses what it has found for less than this, in ms. */
const KEPT_MS = 24 * 60 * 60 * 1000;

export interface InstalledFake {
  readonly firecracker: string;
  readonly jailer: string;
}

/**
 * @param directory exists, or is made; a test puts it first in PATH, or names the programs in a configuration.
 * @param options.version that is played, such as "1.15.0"; 1.16.1 by default.
 */
export async function installFakeFirecracker(
  directory: string,
  options: { readonly version?: string } = {},
): Promise<InstalledFake> {
  home ??= makeHome();
  const place = await home;
  await mkdir(directory, { recursive: true });
  const write = async (program: 'firecracker' | 'jailer'): Promise<string> => {
    const path = join(directory, program);
    await writeFile(path, script(program, place, options.version ?? '1.16.1'));
    await chmod(path, 0o755);
    return path;
  };
  return { firecracker: await write('firecracker'), jailer: await write('jailer') };
}

/** `exec`: the fake has the process id that its starter knows. */
function script(program: 'firecracker' | 'jailer', place: string, version: string): string {
  const played = `${quoted(nodeForAll())} ${quoted(join(place, 'bundle.mjs'))} ${program}`;
  return `#!/bin/sh
FAKE_FIRECRACKER_HOME=${quoted(place)}
FAKE_FIRECRACKER_VERSION=${quoted(version)}
export FAKE_FIRECRACKER_HOME FAKE_FIRECRACKER_VERSION
${program === 'firecracker' ? `exec ${played} "$@"` : jailerCommands(played)}
`;
}

/** The jailer keeps no descriptor but the first three. What is to be executed comes on descriptor 4, see jailer.ts. */
function jailerCommands(played: string): string {
  return `exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
exec 3>&1
plan=$(${played} $$ "$@" 4>&1 >&3 3>&-) || exit $?
exec 3>&-
eval "$plan"`;
}

/** This Node, if every user may run it; else the system's. */
function nodeForAll(): string {
  return isOpenToAll(process.execPath) || !existsSync('/usr/bin/node') ? process.execPath : '/usr/bin/node';
}

let home: Promise<string> | null = null;

async function makeHome(): Promise<string> {
  await buildNodeRuntime();
  const bundle = await bundled();
  const description = JSON.stringify(apiDocument());
  const hash = createHash('sha256').update(bundle).update(description);
  for (const path of [...filesOf(PYTHON_RUNTIME), ...filesOf(NODE_RUNTIME)]) {
    hash.update(path).update(readFileSync(path));
  }
  const cache = join(PROJECT_ROOT, 'images', 'test-cache');
  mkdirSync(cache, { recursive: true });
  const place = join(isOpenToAll(cache) ? cache : tmpdir(), `fake-firecracker-${hash.digest('hex').slice(0, 16)}`);
  if (isOurs(place)) return place;
  removeOld(dirname(place));
  // Under a name of its own first: other test files may be at it as well.
  const draft = `${place}.${randomBytes(4).toString('hex')}`;
  mkdirSync(draft, { recursive: true, mode: 0o755 });
  writeFileSync(join(draft, 'bundle.mjs'), bundle, { mode: 0o644 });
  writeFileSync(join(draft, 'description.json'), description, { mode: 0o644 });
  cpSync(PYTHON_RUNTIME, join(draft, 'python'), { recursive: true });
  cpSync(NODE_RUNTIME, join(draft, 'node'), { recursive: true });
  try {
    renameSync(draft, place);
  } catch (error) {
    rmSync(draft, { recursive: true });
    if (!isOurs(place)) throw error;
  }
  return place;
}

/** In a directory for all, somebody else may have put something there. */
function isOurs(place: string): boolean {
  return statSync(place, { throwIfNoEntry: false })?.uid === process.getuid?.();
}

/** What was made of sources that have changed since. */
function removeOld(cache: string): void {
  for (const name of readdirSync(cache).filter((one) => HOME_NAME.test(one))) {
    const place = join(cache, name);
    if (isOurs(place) && Date.now() - statSync(place).mtimeMs > KEPT_MS)
      rmSync(place, { recursive: true, force: true });
  }
}

async function bundled(): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [ENTRY],
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    logLevel: 'silent',
  });
  const [file] = outputFiles;
  if (file === undefined) throw new Error('esbuild wrote no bundle of the fake Firecracker');
  return file.contents;
}

function filesOf(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.includes('__pycache__'))
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile())
    .sort();
}

function isOpenToAll(path: string): boolean {
  accessSync(path, constants.R_OK);
  for (let at = path; at !== '/'; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
  }
  return true;
}
