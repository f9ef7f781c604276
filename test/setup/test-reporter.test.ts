import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROJECT_ROOT } from '../../src/images/project.ts';

const REPORTER = join(PROJECT_ROOT, 'dist', 'setup', 'test-reporter.js');

test('npm test: the slowest files stand before the summary of the runner, slowest first', () => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-reporter-'));
  try {
    const waits = { 'quick.test.mjs': 1, 'slow.test.mjs': 300 };
    for (const [name, ms] of Object.entries(waits)) {
      const text = `import { test } from 'node:test';\ntest('waits', () => new Promise((done) => setTimeout(done, ${ms})));\n`;
      writeFileSync(join(directory, name), text);
    }
    const argv = ['--test', `--test-reporter=${REPORTER}`, ...Object.keys(waits)];
    // Else the runner would take itself for one of this one's files.
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    const { stdout, status } = spawnSync(process.execPath, argv, { cwd: directory, env, encoding: 'utf8' });
    assert.equal(status, 0);
    const order = [
      /slowest 2 of 2 test files/,
      / 0\.\d s {2}slow\.test\.mjs/,
      / 0\.\d s {2}quick\.test\.mjs/,
      /tests 2/,
      /pass 2/,
    ];
    const at = order.map((line) => stdout.search(line));
    assert.ok(
      at.every((index, n) => index > (at[n - 1] ?? -1)),
      stdout,
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});
