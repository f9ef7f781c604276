/**
 * Runs in the builder and in `npm start`. Compiled modules of Python among a staged function's files: whether the guest can
 * load them. pip leaves what is for the interpreter it was run by, on whatever machine that was.
 */
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SYSTEM_FOLDER } from './app-debian.ts';
import { readElf } from './elf.ts';
import type { GuestPython } from './guest-python.ts';
import { TreeError } from './tree.ts';

/** `name.cpython-312-x86_64-linux-gnu.so`, `name.cp312-win_amd64.pyd`, `name.abi3.so`. Sources: PEP 3149, importlib. */
const TAGGED = /^(.+?)\.(?:cpython-(\d)(\d+)\w*-([\w-]+)|cp(\d)(\d+)-(\w+)|(abi3))\.(?:so|pyd)$/;
/** Never looked for in the function's files; programs of Debian packages have been put together by apt. */
const SKIPPED: ReadonlySet<string> = new Set(['node_modules', '__pycache__']);
/** Named in one message at most. */
const MAX_NAMED = 5;

interface NativeModule {
  readonly path: string;
  /** What the guest lacks to load it; null: nothing. */
  readonly problem: string | null;
  readonly needed: readonly string[];
}

/**
 * Looks at the compiled modules below `files`.
 *
 * @returns notes on libraries that nothing brings, and on packages that will do without their compiled modules.
 * @throws TreeError if a package among the function's own files has compiled modules, none of them is for the guest's Python
 *   and machine, and none has its source beside it.
 */
export async function checkNativeModules(files: string, python: GuestPython): Promise<readonly string[]> {
  const modules: NativeModule[] = [];
  const libraries = new Set<string>();
  const sources = new Set<string>();
  for await (const path of filesBelow(files, '')) {
    const name = basename(path);
    if (/\.so(\.|$)/.test(name)) libraries.add(name);
    if (name.endsWith('.py')) sources.add(path);
    if (/\.(so|pyd)$/.test(name)) modules.push(await describeModule(files, path, python));
  }
  const own = modules.filter(({ path }) => !path.startsWith(SYSTEM_FOLDER));
  const notes = describeForeign(own, sources, python);
  const usable = modules.filter(({ problem }) => problem === null);
  return usable.length === 0
    ? notes
    : [...notes, ...describeMissing(usable, libraries, await librariesOf(python.root))];
}

async function describeModule(files: string, path: string, python: GuestPython): Promise<NativeModule> {
  const tagged = TAGGED.exec(basename(path));
  const [, , major, minor, platform, windowsMajor, windowsMinor, windows] = tagged ?? [];
  const elf = await readElf(join(files, path));
  // A script of the linker may have such a name as well.
  if (tagged === null && elf === null && path.endsWith('.so')) return { path, problem: null, needed: [] };
  const [first = windowsMajor, second = windowsMinor] = [major, minor];
  const version = first === undefined ? undefined : `${first}.${second ?? ''}`;
  const isForGuest =
    elf?.isForGuests === true &&
    !path.endsWith('.pyd') &&
    (version === undefined || version === python.version) &&
    (platform === undefined || platform === 'x86_64-linux-gnu');
  const machine = windows ?? platform ?? elf?.machine ?? 'another system';
  const problem = isForGuest ? null : version === undefined ? machine : `Python ${version}, ${machine}`;
  return { path, problem, needed: elf?.needed ?? [] };
}

/** A package that has variants for several versions is fine if one fits. */
function describeForeign(
  modules: readonly NativeModule[],
  sources: ReadonlySet<string>,
  python: GuestPython,
): readonly string[] {
  const packages = new Map<string, NativeModule[]>();
  for (const one of modules) {
    const name = packageOf(one.path);
    const its = packages.get(name);
    if (its === undefined) packages.set(name, [one]);
    else its.push(one);
  }
  const foreign = [...packages].filter(([, its]) => its.every(({ problem }) => problem !== null));
  const hasSource = ({ path }: NativeModule): boolean => sources.has(path.replace(/\.[^/]*$/, '.py'));
  const hopeless = foreign.filter(([, its]) => !its.some(hasSource));
  const runs = `the function runs in Python ${python.version} on x86_64-linux-gnu`;
  if (hopeless.length > 0) {
    throw new TreeError(
      `compiled modules of ${named(hopeless)} cannot be loaded: ${runs}; name the packages in a requirements.txt instead ` +
        'of bringing them, or bring what this installs: pip install --only-binary :all: ' +
        `--python-version ${python.version} --platform manylinux2014_x86_64 --target package`,
    );
  }
  return foreign.length === 0 ? [] : [`compiled modules of ${named(foreign)} are not used, their sources are: ${runs}`];
}

function named(packages: readonly (readonly [string, readonly NativeModule[]])[]): string {
  const some = packages.slice(0, MAX_NAMED).map(([name, [first]]) => `${name} (for ${first?.problem ?? ''})`);
  return some.join(', ') + (packages.length > MAX_NAMED ? ` and ${packages.length - MAX_NAMED} more` : '');
}

/** The top of a package: in the directory itself, in `package/`, `lib/` or a folder of an installation. */
function packageOf(path: string): string {
  const inside = path.replace(/^.*\b(?:site|dist)-packages\//, '').replace(/^(?:package|lib)\/(?=.)/, '');
  const [top = inside] = inside.split('/');
  return TAGGED.exec(top)?.[1] ?? top;
}

function describeMissing(
  modules: readonly NativeModule[],
  brought: ReadonlySet<string>,
  provided: ReadonlySet<string>,
): readonly string[] {
  const missing = new Map<string, string>();
  for (const { path, needed } of modules) {
    for (const name of needed) {
      if (!brought.has(name) && !provided.has(name) && !missing.has(name)) missing.set(name, path);
    }
  }
  if (missing.size === 0) return [];
  const listed = [...missing]
    .slice(0, MAX_NAMED)
    .map(([name, path]) => `${name} (${path.replace(`${SYSTEM_FOLDER}/`, '/')})`);
  return [
    `libraries are missing that compiled modules need: ${listed.join(', ')}; name the Debian packages that have them in ` +
      'debian-packages.txt',
  ];
}

async function librariesOf(root: string): Promise<ReadonlySet<string>> {
  const folders = ['usr/lib/x86_64-linux-gnu', 'usr/lib', 'usr/lib64'];
  const names = await Promise.all(folders.map((folder) => readdir(join(root, folder)).catch(() => [])));
  return new Set(names.flat());
}

async function* filesBelow(root: string, folder: string): AsyncGenerator<string> {
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name)) yield* filesBelow(root, path);
    } else yield path;
  }
}
