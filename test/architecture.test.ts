/** docs/architecture.md draws borders between folders, and all docs name files: neither may drift from what is there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { VMMS } from '../src/protocol/vmms.ts';
import { PROJECT_ROOT } from './support/snapctr.ts';

const read = (path: string): string => readFileSync(join(PROJECT_ROOT, path), 'utf8');

/** Files below a directory of the project, as paths from its root. */
function filesBelow(directory: string, ending: string): string[] {
  return readdirSync(join(PROJECT_ROOT, directory), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(directory, name));
}

/** By folder of src/, the folders it may import from; `bin` may import from all. */
function borders(): ReadonlyMap<string, readonly string[]> {
  return bordersOf(/^\| `src\/(\w+)\/` *\|[^|]*\|([^|]*)\|$/gm);
}

/** The same by folder of src/firerunner/. */
function innerBorders(): ReadonlyMap<string, readonly string[]> {
  return bordersOf(/^\| `firerunner\/(\w+)\/` *\| ((?:`\w+`(?:, )?)+|none of them) *\|$/gm);
}

function bordersOf(row: RegExp): ReadonlyMap<string, readonly string[]> {
  const rows = [...read('docs/architecture.md').matchAll(row)];
  return new Map(
    rows.map(([, folder = '', may = '']) => [folder, [...may.matchAll(/`(\w+)`/g)].map(([, other = '']) => other)]),
  );
}

test('each folder of src/ imports from the folders that docs/architecture.md lists for it, and no others', () => {
  const allowed = borders();
  assert.deepEqual([...allowed.keys()].sort(), readdirSync(join(PROJECT_ROOT, 'src')).filter(isFolder).sort());
  const crossings = [...filesBelow('src', '.ts'), ...filesBelow('src', '.tsx')].flatMap((file) => {
    const [, folder = ''] = file.split('/');
    return [...read(file).matchAll(/from '(\.[^']*)'/g)].flatMap(([, target = '']) => {
      const [side, other = ''] = relative(PROJECT_ROOT, resolve(PROJECT_ROOT, file, '..', target)).split('/');
      const isAllowed = side === 'src' && (other === folder || allowed.get(folder)?.includes(other) === true);
      return isAllowed || folder === 'bin' ? [] : [`${file} imports ${target}`];
    });
  });
  assert.deepEqual(crossings, []);
});

test('each folder of src/firerunner/ imports the folders that are listed for it, and VMMs are known to the table alone', () => {
  const allowed = innerBorders();
  const firerunner = join(PROJECT_ROOT, 'src', 'firerunner');
  const files = filesBelow('src/firerunner', '.ts');
  const folders = new Set(files.map((file) => file.split('/')[2] ?? '').filter(isFolder));
  assert.deepEqual([...allowed.keys()].sort(), [...folders].sort());
  const crossings = files.flatMap((file) => {
    const [, , folder = ''] = file.split('/');
    return [...read(file).matchAll(/from '(\.[^']*)'/g)].flatMap(([, target = '']) => {
      const [other = ''] = relative(firerunner, resolve(PROJECT_ROOT, file, '..', target)).split('/');
      if (!allowed.has(other) || other === folder) return [];
      const isAllowed = allowed.get(folder)?.includes(other) ?? (folder === 'vmms.ts' || !Object.hasOwn(VMMS, other));
      return isAllowed ? [] : [`${file} imports ${target}`];
    });
  });
  assert.deepEqual(crossings, []);
});

test('files that the docs name are there', () => {
  const git = ['ls-files', '--cached', '--others', '--exclude-standard'];
  const files = execFileSync('git', git, { cwd: PROJECT_ROOT, encoding: 'utf8' }).trim().split('\n');
  const pages = ['README.md', 'CONTRIBUTING.md', ...filesBelow('docs', '.md')];
  const missing = pages.flatMap((page) =>
    [...read(page).matchAll(/`([\w./*{},-]+\.(?:ts|cts|c|h|py|sh|mjs))`/g)]
      .map(([, name = '']) => name)
      .filter((name) => !files.some((file) => pattern(name).test(file)))
      .map((name) => `${page}: ${name}`),
  );
  assert.deepEqual(missing, []);
});

function isFolder(name: string): boolean {
  return !name.includes('.');
}

/** A path as docs shorten it: its end, with `*` and `{a,b}`, and capitals for what is to be filled in; `.x.ts` is an ending. */
function pattern(name: string): RegExp {
  const words = name
    .replaceAll('.', '\\.')
    .replaceAll('*', '[^/]*')
    .replaceAll(/\{([^}]*)\}/g, (_whole, list: string) => `(${list.replaceAll(',', '|')})`)
    .replaceAll(/\b[A-Z]{4,}\b/g, '[^/]*');
  return new RegExp(`${name.startsWith('.') ? '' : '(^|/)'}${words}$`);
}
