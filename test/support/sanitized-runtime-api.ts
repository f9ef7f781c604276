/** The server of the Runtime API, compiled for this host with sanitizers: whatever they find ends it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestProcess } from './guest-process.ts';
import { PROJECT_ROOT } from './snapctr.ts';

const FLAGS = ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-Wall', '-Wextra', '-Werror'];
const SOURCES = join(PROJECT_ROOT, 'guest/runtime-api');

export class SanitizedRuntimeApi {
  readonly #directory = mkdtempSync(join(tmpdir(), 'snapfaas-runtime-api-'));
  readonly #program = join(this.#directory, 'runtime-api');

  constructor() {
    const sources = readdirSync(SOURCES).filter((name) => name.endsWith('.c'));
    const compiled = spawnSync('gcc', [...FLAGS, '-o', this.#program, ...sources], { cwd: SOURCES, encoding: 'utf8' });
    assert.equal(compiled.status, 0, compiled.stderr);
  }

  /** @param files of the function, by name. */
  start(files: Readonly<Record<string, string | Buffer>>): Promise<GuestProcess> {
    return GuestProcess.startProgram('env', ['ASAN_OPTIONS=detect_leaks=0', this.#program], files);
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true });
  }
}
