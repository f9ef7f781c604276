import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { scanTree } from '../../src/images/tree.ts';
import { describeUnread } from '../../src/images/unread-files.ts';
import { makeApp } from './temporary.ts';

const MANIFEST = ['package.json', '\ufeff{"dependencies":{"left-pad":"1.0.0"}}'] as const;
type Files = readonly (readonly [path: string, text: string])[];

describe('files that name packages and are not read', () => {
  const cases: readonly (readonly [
    title: string,
    runtime: 'nodejs' | 'python3' | undefined,
    files: Files,
    notes: RegExp[],
  ])[] = [
    ['nothing', undefined, [], []],
    ['a manifest without a lock', 'nodejs', [MANIFEST], [/^package\.json brings no packages: make a package-lock/]],
    ['a manifest without dependencies', 'nodejs', [['package.json', '{"type":"module"}']], []],
    ['a manifest that is no JSON', 'nodejs', [['package.json', '{']], []],
    ['yarn', 'nodejs', [MANIFEST, ['yarn.lock', '']], [/^yarn\.lock brings no packages/]],
    ['pnpm', undefined, [MANIFEST, ['pnpm-lock.yaml', '']], [/^pnpm-lock\.yaml brings no packages/]],
    [
      'yarn beside what it installed',
      'nodejs',
      [MANIFEST, ['yarn.lock', ''], ['node_modules/left-pad/index.js', '']],
      [],
    ],
    ['yarn beside npm', 'nodejs', [MANIFEST, ['yarn.lock', ''], ['package-lock.json', '{}']], []],
    ['a shrinkwrap', 'nodejs', [MANIFEST, ['npm-shrinkwrap.json', '{}']], []],
    ['poetry', 'python3', [['poetry.lock', '']], [/^poetry\.lock is not read: .*requirements\.txt/]],
    [
      'pipenv',
      undefined,
      [
        ['Pipfile', ''],
        ['Pipfile.lock', ''],
      ],
      [/^Pipfile\.lock is not read/],
    ],
    [
      'uv beside requirements',
      'python3',
      [
        ['uv.lock', ''],
        ['requirements.txt', ''],
      ],
      [],
    ],
    [
      'requirements in Node',
      'nodejs',
      [['requirements.txt', 'x']],
      [/^requirements\.txt is not read: the function runs in Node/],
    ],
  ];
  for (const [title, runtime, files, expected] of cases) {
    test(title, async () => {
      const directory = await makeApp(files);
      const notes = await describeUnread(directory, await scanTree(directory), runtime);
      assert.equal(notes.length, expected.length, notes.join('; '));
      for (const [index, note] of notes.entries()) assert.match(note, expected[index] ?? /^$/);
    });
  }
});
