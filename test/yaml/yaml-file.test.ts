import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConfigError, YamlFile, type Problem } from '../../src/yaml/yaml-file.ts';

function read(text: string): { readonly file: YamlFile | null; readonly problems: readonly Problem[] } {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-yaml-'));
  const problems: Problem[] = [];
  try {
    writeFileSync(join(directory, 'some.yaml'), text);
    return { file: YamlFile.read(join(directory, 'some.yaml'), 'some.yaml', problems), problems };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('YAML: a key that is there twice is told with its place, and the file is read', () => {
  const { file, problems } = read('a: {x: 1, y: 2, x: 3}\nb: 1\na: 2\n');
  assert.deepEqual(
    problems.map(({ line, column, message }) => [line, column, message]),
    [
      [1, 17, 'the key `x` is there twice; remove one of the two'],
      [3, 1, 'the key `a` is there twice; remove one of the two'],
    ],
  );
  assert.notEqual(file, null);
});

test('YAML: keys of different maps, and quoted and plain keys of one map', () => {
  assert.deepEqual(read('- {a: 1}\n- {a: 1, b: {a: 1}}\n').problems, []);
  assert.equal(read('{a: 1, "a": 2}\n').problems.length, 1);
});

test('YAML: a key that is as long as the file is not told whole', () => {
  const { problems } = read(`{${'2, '.repeat(10_000)}}`);
  assert.equal(problems.length, 1000);
  assert.ok(problems.every(({ message }) => message === 'the key `2` is there twice; remove one of the two'));
});

test('YAML: a message that quotes a long value is cut', () => {
  const { file } = read('a: 1\n');
  const message = file?.problemAt(['a'], `not ${'x'.repeat(100_000)}`).message ?? '';
  assert.match(message, /^not x{996}…$/);
});

test('configuration: of very many problems the first hundred are shown, and how many there are', () => {
  const problem = { file: 'some.yaml', line: 1, column: 1, message: 'wrong' };
  const error = new ConfigError(Array.from({ length: 1100 }, () => problem));
  const lines = error.message.split('\n');
  assert.deepEqual([lines.length, lines.at(-1)], [101, '1000 more problems are not shown']);
  assert.equal(error.problems.length, 1100);
  assert.equal(new ConfigError(Array.from({ length: 100 }, () => problem)).message.split('\n').length, 100);
});
