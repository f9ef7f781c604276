/**
 * Runs in the builder and in `npm start`. Links that Debian makes when a package is installed, made here from what the packages
 * say, without running anything of theirs: those of update-alternatives, and those to libraries that only the cache of the
 * dynamic linker would find.
 */
import { lstat, mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { dirname, join, posix, relative } from 'node:path';

const LIBRARIES = 'usr/lib/x86_64-linux-gnu';
/** Where the dynamic linker looks by itself, from the root. */
const SEARCHED: ReadonlySet<string> = new Set(['lib', 'usr/lib', 'lib/x86_64-linux-gnu', LIBRARIES]);

export interface Alternative {
  /** Where programs look; absolute. */
  readonly link: string;
  /** What is there if this alternative is chosen; absolute. */
  readonly path: string;
  readonly priority: number;
}

/** Longer lines set up no alternatives. */
const MAX_LINE_CHARACTERS = 4096;
/** Of one word; a script that says more than that is none that is understood here. */
const MAX_VALUES = 256;

/**
 * What an installation script (`postinst`) would tell update-alternatives, slaves included. Understood are plain variables
 * and loops over words; what depends on a program that the script runs is left out.
 */
export function readAlternatives(script: string): readonly Alternative[] {
  const found: Alternative[] = [];
  const variables = new Map<string, readonly string[]>();
  for (const line of script.replace(/\\\n/g, ' ').split('\n')) {
    if (line.length > MAX_LINE_CHARACTERS) continue;
    const loop = /^\s*for\s+(\w+)\s+in\s+(.*?)\s*(?:;.*)?$/.exec(line);
    const assignment = /^\s*(?:local\s+|export\s+)?(\w+)=("[^"]*"|'[^']*'|\S*)\s*(?:;.*)?$/.exec(line);
    if (loop !== null) {
      const [, name = '', text = ''] = loop;
      variables.set(
        name,
        splitWords(text)
          .flatMap((word) => expand(word, variables))
          .flatMap(splitWords),
      );
    } else if (assignment !== null) {
      const [, name = '', text = ''] = assignment;
      variables.set(name, expand(text.replace(/^(["'])(.*)\1$/, '$2'), variables));
    }
    const at = line.search(/(^|[\s;&|])update-alternatives\s/);
    if (at >= 0 && !line.trimStart().startsWith('#')) found.push(...readCommand(line.slice(at), variables));
  }
  return found;
}

function splitWords(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** All values that a word can have; none if it depends on what is not known. */
function expand(word: string, variables: ReadonlyMap<string, readonly string[]>): readonly string[] {
  let values: readonly string[] = [word];
  for (let depth = 0; depth < 8 && values.some((value) => value.includes('$')); depth += 1) {
    if (values.length > MAX_VALUES) return [];
    values = values.flatMap((value) => {
      const [whole, braced, plain] = /\$(?:\{(\w+)\}|(\w+))/.exec(value) ?? [];
      if (whole === undefined) return value.includes('$') ? [] : [value];
      return (variables.get(braced ?? plain ?? '') ?? []).map((replacement) => value.replace(whole, () => replacement));
    });
  }
  return values.some((value) => /[$`*?]/.test(value)) ? [] : values;
}

function readCommand(line: string, variables: ReadonlyMap<string, readonly string[]>): readonly Alternative[] {
  const raw = splitWords((line.split(/[;|&]/)[0] ?? '').replaceAll(/["']/g, ''));
  // A loop's variable stands in several words and has one value at a time.
  const looped = [...variables].find(([name, values]) => values.length > 1 && mentions(raw, name));
  const rounds =
    looped === undefined ? [variables] : looped[1].map((one) => new Map([...variables, [looped[0], [one]]]));
  return rounds.flatMap((round) => {
    const words = raw.map((word) => expand(word, round)[0]);
    const found: Alternative[] = [];
    let priority = 0;
    for (const [index, word] of words.entries()) {
      if (word !== '--install' && word !== '--slave') continue;
      const [link, , path, rank] = words.slice(index + 1, index + 5);
      if (word === '--install') priority = Number(rank);
      if (link?.startsWith('/') !== true || path?.startsWith('/') !== true || Number.isNaN(priority)) continue;
      found.push({ link, path, priority });
    }
    return found;
  });
}

function mentions(words: readonly string[], name: string): boolean {
  return words.some((word) => word.includes(`$${name}`) || word.includes(`\${${name}}`));
}

/**
 * Makes the links of the alternatives that `scripts` register below `root`, for each the one of the highest priority
 * among those that are there.
 */
export async function linkAlternatives(root: string, scripts: readonly string[]): Promise<void> {
  const chosen = new Map<string, Alternative>();
  for (const one of scripts.flatMap(readAlternatives)) {
    if ((chosen.get(one.link)?.priority ?? -Infinity) >= one.priority) continue;
    if (await isThere(inRoot(root, one.path))) chosen.set(one.link, one);
  }
  for (const { link, path } of chosen.values()) await linkUnlessThere(inRoot(root, link), inRoot(root, path));
}

/** Libraries in directories that a package adds to the linker's (`/etc/ld.so.conf.d`) become links where it looks anyway. */
export async function linkLibraries(root: string): Promise<void> {
  const configuration = join(root, 'etc', 'ld.so.conf.d');
  for (const name of await readdir(configuration).catch(() => [])) {
    if (!name.endsWith('.conf')) continue;
    for (const line of (await readFile(join(configuration, name), 'utf8')).split('\n')) {
      const directory = posix.normalize(line.replace(/#.*/, '').trim()).replace(/^\/|\/$/g, '');
      if (!line.startsWith('/') || SEARCHED.has(directory)) continue;
      for (const library of await readdir(join(root, directory)).catch(() => [])) {
        if (!/\.so(\.|$)/.test(library)) continue;
        await linkUnlessThere(join(root, LIBRARIES, library), join(root, directory, library));
      }
    }
  }
}

/** As in a guest, where /lib is in /usr. Steps upwards stay inside. */
function inRoot(root: string, path: string): string {
  const inside = posix.normalize(path).replace(/^\/(bin|sbin|lib|lib64)(?=\/)/, '/usr/$1');
  return join(root, inside);
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

async function linkUnlessThere(link: string, target: string): Promise<void> {
  if (await isThere(link)) return;
  await mkdir(dirname(link), { recursive: true });
  await symlink(relative(dirname(link), target), link);
}
