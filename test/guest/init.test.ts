import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const INIT = fileURLToPath(new URL('../../guest/init/', import.meta.url));
const hasCompiler = spawnSync('gcc', ['--version']).error === undefined;

test(
  'init: compiles into a static program without a warning',
  { skip: hasCompiler ? false : 'gcc is not installed' },
  () => {
    const directory = mkdtempSync(join(tmpdir(), 'snapfaas-init-'));
    try {
      const sources = readdirSync(INIT).filter((name) => name.endsWith('.c'));
      const program = join(directory, 'init');
      const flags = ['-static', '-O2', '-Wall', '-Wextra', '-Werror'];
      const compiled = spawnSync('gcc', [...flags, '-o', program, ...sources], { cwd: INIT, encoding: 'utf8' });
      assert.equal(compiled.status, 0, compiled.stderr);
      const linked = spawnSync('readelf', ['--program-headers', program], { encoding: 'utf8' });
      assert.doesNotMatch(linked.stdout, /INTERP/, 'it needs no loader and no library');
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);
