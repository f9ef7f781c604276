import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  CONTROL_PORT_NAME,
  CONTROL_VSOCK_PORT,
  FrameType,
  FUNCTION_PORT_NAME,
  FUNCTION_VSOCK_PORT,
} from '../../src/protocol/guest.ts';
import { whyWithout } from '../support/needed-program.ts';

const INIT = fileURLToPath(new URL('../../guest/init/', import.meta.url));

test('init: compiles into a static program without a warning', { skip: whyWithout('gcc', 'gcc') }, () => {
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
});

test('init: has the names and numbers of the host', () => {
  const header = readFileSync(join(INIT, 'init.h'), 'utf8');
  const defined = (name: string): string | undefined =>
    new RegExp(`^#define ${name} "?([^"\n]*)"?$`, 'm').exec(header)?.[1];
  assert.deepEqual(
    ['FUNCTION_PORT_NAME', 'CONTROL_PORT_NAME', 'FUNCTION_VSOCK_PORT', 'CONTROL_VSOCK_PORT'].map(defined),
    [FUNCTION_PORT_NAME, CONTROL_PORT_NAME, String(FUNCTION_VSOCK_PORT), String(CONTROL_VSOCK_PORT)],
  );
  const types = Array.from(header.matchAll(/^ *FRAME_(\w+) = (\d+),$/gm), ([, name, value]) => [name, Number(value)]);
  const control = Object.entries(FrameType)
    // The control channel's, and those of the function channel that the bridge looks for.
    .filter(([name, value]) => value >= 16 || ['chunk', 'taken', 'cancel'].includes(name))
    .map(([name, value]) => [name.replace(/[A-Z]/g, '_$&').toUpperCase(), value]);
  assert.deepEqual(types, control);
});
