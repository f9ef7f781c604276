import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXIT_CODE_MEANINGS, EXIT_CODES } from '../../src/firerunner/exit-codes.ts';
import { ERROR_TABLE } from '../../src/protocol/errors.ts';
import { PROJECT_ROOT } from '../support/snapctr.ts';

test('docs/errors.md has the rows of the error table and of the exit codes, and no others', () => {
  const page = readFileSync(join(PROJECT_ROOT, 'docs/errors.md'), 'utf8');
  const codes = tableUnder(page, '## Codes').map(([code, status, handlerRan]) => [unquoted(code), status, handlerRan]);
  assert.deepEqual(
    codes,
    Object.entries(ERROR_TABLE).map(([code, row]) => [code, String(row.httpStatus), row.handlerRan]),
  );
  const exits = tableUnder(page, '## Exit codes of firerunner').map(([n, name, meaning]) => [
    n,
    unquoted(name),
    meaning,
  ]);
  assert.deepEqual(
    exits,
    Object.entries(EXIT_CODES).map(([name, n]) => [
      String(n),
      name,
      EXIT_CODE_MEANINGS[name as keyof typeof EXIT_CODES],
    ]),
  );
});

/** Body rows of the first table after a heading, as trimmed cells. */
function tableUnder(page: string, heading: string): string[][] {
  const section = page.split(/^(?=## )/m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

function unquoted(cell: string | undefined): string {
  return (cell ?? '').replaceAll('`', '');
}
