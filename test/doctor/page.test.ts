import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKS } from '../../src/doctor/checks.ts';
import { PROJECT_ROOT } from '../support/snapctr.ts';

const PAGE = readFileSync(join(PROJECT_ROOT, 'docs/doctor.md'), 'utf8');

/** First cells of the first table after a heading, without quotes. */
function firstColumn(heading: string): string[] {
  const section = PAGE.split(/^(?=## )/m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) => (row.split('|')[1] ?? '').trim().replaceAll('`', ''));
}

test('docs/doctor.md has the checks of snapctr doctor in their order, and no others', () => {
  assert.deepEqual(
    firstColumn('## Checks'),
    CHECKS.map(({ name }) => name),
  );
});

test('docs/doctor.md has the keys of the JSON report', () => {
  assert.deepEqual(firstColumn('## For programs'), ['ok', 'vmm', 'accelerator', 'reason', 'checks']);
});

test('names of checks are what programs can look for: small letters and hyphens, each once', () => {
  const names = CHECKS.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[a-z]+(-[a-z]+)*$/);
});
