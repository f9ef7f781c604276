/**
 * Runs in the builder and in `npm start`. Packages of PyPI for a function, named in its `requirements.txt`: wheels for the
 * guest's Python, chosen by pip and unpacked by us into `/usr/local`, where pip itself would install them.
 *
 * ```
 *   requirements.txt ── requirements.ts ──▶ lines ── pip download ──▶ wheels ── unpack_wheels.py ──▶ cache/python/sets/…
 * ```
 *
 * The same lines are fetched once, so that a function whose code changes keeps the versions it had; `--force` fetches again.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { withLimit } from '../protocol/abort.ts';
import { CACHE_HELP, cacheDirectory } from '../storage/cache-directory.ts';
import { sha256Json } from '../storage/digest.ts';
import { compileModules } from './app-bytecode.ts';
import { guestPip, guestPython, runGuestScript, type GuestPython } from './guest-python.ts';
import { inBuildFolder } from './publish.ts';
import { normalizeName, REQUIREMENTS_FILE, type Requirements } from './requirements.ts';
import { runTool, ToolError } from './tool.ts';
import type { TreeEntry } from './tree.ts';

/** Raised when the same lines are to give other files than before. */
const SET_RULES_VERSION = 1;
/** The largest image. */
const MAX_UNPACKED_BYTES = 4096 * 1024 * 1024;
/** For an index that answers slowly, in ms; pip has limits of its own for one that does not answer. */
const DOWNLOAD_TIMEOUT_MS = 1_800_000;

/** From a root file system's root. */
const PREFIX = join('usr', 'local');
/** Where modules are, from there. */
export const modulesOf = (python: GuestPython): string => join('lib', `python${python.version}`, 'dist-packages');

export interface PypiOptions {
  /** Where sets are kept, in `python/sets/` below it. Default: `cacheDirectory()`. */
  readonly cacheDirectory?: string;
  readonly force?: boolean;
  /** What names the packages, for messages. Default: the file of requirements. */
  readonly namedBy?: string;
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Puts the packages below the root file system `target`.
 * @returns name to version, names beginning with "pypi:".
 * @throws ToolError if pip finds no wheels for the guest, or there is no apt to bring pip.
 */
export async function addRequirements(
  wanted: Requirements,
  target: string,
  options: PypiOptions,
): Promise<Readonly<Record<string, string>>> {
  const set = await fetchSet(wanted, options);
  await mkdir(join(target, PREFIX), { recursive: true });
  await runTool('cp', ['-a', '--reflink=auto', '--', `${set.directory}/.`, join(target, PREFIX)]);
  return Object.fromEntries(Object.entries(set.versions).map(([name, version]) => [`pypi:${name}`, version]));
}

/** Names of packages that lie in the function's files as pip leaves them: in the directory itself, or in `package/`. */
export function vendoredNames(entries: readonly TreeEntry[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { path } of entries) {
    const name = /^(?:package\/)?([^/]+?)-[^/-]+\.dist-info\/METADATA$/.exec(path)?.[1];
    if (name !== undefined) names.add(normalizeName(name));
  }
  return names;
}

export interface PackageSet {
  /** To be laid over `/usr/local`. */
  readonly directory: string;
  readonly versions: Readonly<Record<string, string>>;
}

const versionsSchema = z.record(z.string(), z.string());

/**
 * The packages in the cache, fetched unless they are there.
 * @throws ToolError if pip finds no wheels for the guest, or there is no apt to bring pip.
 */
export async function fetchSet(wanted: Requirements, options: PypiOptions): Promise<PackageSet> {
  const python = await guestPython();
  const digest = sha256Json({ version: SET_RULES_VERSION, python: python.version, wanted });
  const folder = join(options.cacheDirectory ?? cacheDirectory(), 'python', 'sets', digest);
  const directory = join(folder, 'local');
  const stamp = join(folder, 'local.json');
  const read = async (): Promise<PackageSet | null> => {
    const text = options.force === true ? undefined : await readFile(stamp, 'utf8').catch(() => undefined);
    return text === undefined ? null : { directory, versions: versionsSchema.parse(JSON.parse(text)) };
  };
  return (
    (await read()) ??
    inBuildFolder(
      folder,
      async (buildFolder) => {
        const other = await read();
        if (other !== null) return other;
        const wheels = await download(wanted, python, buildFolder.scratch, options);
        options.onProgress?.(`unpacking ${wheels.length} wheels`);
        const made = join(buildFolder.scratch, 'local');
        await mkdir(made);
        const limits = [made, String(MAX_UNPACKED_BYTES)];
        const clean = { inherit: false, ...(options.signal && { signal: options.signal }) };
        const printed = await runGuestScript(python, 'unpack_wheels.py', [...limits, ...wheels], clean);
        const versions = versionsSchema.parse(JSON.parse(printed.toString('utf8')));
        options.onProgress?.('compiling modules');
        await compileModules(python, made, (path) => join('/', PREFIX, path), options.signal);
        await buildFolder.publishDirectory(directory, made, stamp, JSON.stringify(versions));
        return { directory, versions };
      },
      { help: CACHE_HELP, signal: options.signal },
    )
  );
}

/** The operator's configuration of pip (index, proxies, certificates) holds; nothing of the function's is read by it. */
async function download(
  wanted: Requirements,
  python: GuestPython,
  scratch: string,
  options: PypiOptions,
): Promise<readonly string[]> {
  const [empty, wheels] = [join(scratch, 'empty'), join(scratch, 'wheels')];
  for (const directory of [empty, wheels]) await mkdir(directory);
  const files = [join(scratch, 'requirements.txt'), join(scratch, 'constraints.txt')] as const;
  await writeFile(files[0], wanted.requirements.map((line) => `${line}\n`).join(''));
  await writeFile(files[1], wanted.constraints.map((line) => `${line}\n`).join(''));
  const quiet = ['--no-input', '--progress-bar', 'off', '--disable-pip-version-check'];
  const what = ['--only-binary', ':all:', '--dest', wheels, '-r', files[0], '-c', files[1], ...wanted.flags];
  const { namedBy = REQUIREMENTS_FILE } = options;
  options.onProgress?.(`fetching packages of ${namedBy}`);
  try {
    const command = [await guestPip(), 'download', ...quiet, ...what];
    await withLimit(DOWNLOAD_TIMEOUT_MS, options.signal, (signal) =>
      runGuestScript(python, 'download_wheels.py', command, { cwd: empty, signal }),
    );
  } catch (error) {
    if (!(error instanceof ToolError) || error.command === 'apt-get' || error.missing) throw error;
    throw new ToolError('pip', explain(error.message, namedBy, python), { cause: error });
  }
  return (await readdir(wheels)).sort().map((name) => join(wheels, name));
}

function explain(message: string, namedBy: string, python: GuestPython): string {
  const [, ...lines] = message.split('\n');
  const said = lines
    .map((line) => line.trim())
    .filter((line) => /^(ERROR|error|WARNING: Retrying|\w*Error\b)/.test(line));
  return [
    `the packages of ${namedBy} cannot be had; pip says:`,
    ...(said.length > 0 ? said.slice(-8) : lines.slice(-8)),
    `Only wheels for the Python of the guests are taken: ${python.version}, Linux on x86-64 (glibc).`,
  ].join('\n  ');
}
