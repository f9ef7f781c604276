/**
 * The fuzz targets of init and of the Runtime API, in C: a target is a file in `init/` with libFuzzer's entry, and the
 * parts of those that it includes. clang brings libFuzzer; without it gcc and `init/driver.c` do the same, with fewer kinds of mutation.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FuzzRun, FuzzWish } from './target.ts';

const TARGETS = fileURLToPath(new URL('init/', import.meta.url));
const INIT = fileURLToPath(new URL('../../guest/init/', import.meta.url));
const RUNTIME_API = fileURLToPath(new URL('../../guest/runtime-api/', import.meta.url));
const FLAGS = ['-O2', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-Wall', '-Wextra', '-Werror'];
/** Leaks are not what is looked for, and finding them needs rights that a container may not have. */
const ENVIRONMENT = { ...process.env, ASAN_OPTIONS: 'detect_leaks=0' };
/** Longest script, in bytes. `driver.c` has the same number. */
const MAX_SCRIPT_BYTES = 160;
/** Of its output, what is shown. */
const LAST_LINES = 40;

export const INIT_TARGETS = [
  'init-relay',
  'init-bridge',
  'init-network',
  'runtime-api-http',
  'runtime-api-text',
  'runtime-api-web',
] as const;
export type InitTarget = (typeof INIT_TARGETS)[number];
export type Compiler = 'gcc' | 'clang';

/** Null: there is none. */
export function findCompiler(): Compiler | null {
  const isThere = (name: Compiler): boolean => spawnSync(name, ['--version']).error === undefined;
  return hasLibFuzzer() ? 'clang' : isThere('gcc') ? 'gcc' : null;
}

/** clang is there, and its libraries with it. */
function hasLibFuzzer(): boolean {
  const program = 'int LLVMFuzzerTestOneInput(void) { return 0; }';
  const flags = ['-fsanitize=fuzzer,address', '-x', 'c', '-o', '/dev/null', '-'];
  return spawnSync('clang', flags, { input: program }).status === 0;
}

/** A target as a program. */
export class InitProgram {
  readonly #target: InitTarget;
  readonly #compiler: Compiler;
  readonly #directory = mkdtempSync(join(tmpdir(), 'snapfaas-fuzz-'));
  readonly #program = join(this.#directory, 'program');

  constructor(target: InitTarget, compiler: Compiler) {
    this.#target = target;
    this.#compiler = compiler;
    const source = join(TARGETS, `${target}.c`);
    const common = join(TARGETS, 'fuzz.c');
    if (compiler === 'clang') {
      this.#compile(['-fsanitize=fuzzer', '-o', this.#program, source, common]);
    } else {
      const object = join(this.#directory, 'target.o');
      this.#compile(['-fsanitize-coverage=trace-pc', '-c', '-o', object, source]);
      this.#compile(['-o', this.#program, object, common, join(TARGETS, 'driver.c')]);
    }
  }

  /** Mutates the corpus of the target, which it begins with. Rejects with the case that failed. */
  async run({ cases, seconds, seed }: FuzzWish): Promise<FuzzRun> {
    const corpus = join(TARGETS, `${this.#target}.corpus`);
    const limit = seconds ?? 1e9;
    const args =
      this.#compiler === 'gcc'
        ? ['--cases', cases, '--seconds', limit, '--seed', seed, corpus]
        : [
            '-verbosity=0',
            '-print_final_stats=1',
            `-runs=${cases}`,
            `-max_total_time=${Math.ceil(limit)}`,
            `-seed=${seed}`,
            ...this.#libFuzzerArgs(corpus),
          ];
    const begun = performance.now();
    const { status, output } = await this.#start(args.map(String));
    assert.equal(status, 0, `${this.#target}, seed ${seed}:\n${output}${this.#foundByLibFuzzer()}`);
    const [, done] = /^(?:stat::number_of_executed_units: )?(\d+)\b/m.exec(output) ?? [];
    return { cases: Number(done), seconds: (performance.now() - begun) / 1000 };
  }

  /** One case again. */
  async repeat(hex: string): Promise<void> {
    const file = join(this.#directory, 'case');
    writeFileSync(file, Buffer.from(hex, 'hex'));
    const { status, output } = await this.#start(this.#compiler === 'gcc' ? ['--input', hex] : [file]);
    assert.equal(status, 0, `${this.#target} --input ${hex}:\n${output}`);
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true });
  }

  #compile(args: readonly string[]): void {
    const compiled = spawnSync(this.#compiler, [...FLAGS, '-I', INIT, '-I', RUNTIME_API, ...args], {
      encoding: 'utf8',
    });
    assert.equal(compiled.status, 0, compiled.stderr);
  }

  /** libFuzzer writes the case that fails to a file. */
  #foundByLibFuzzer(): string {
    const names = readdirSync(this.#directory).filter((name) => /^(crash|timeout|oom)-/.test(name));
    return names.map((name) => `the case: --input ${readFileSync(join(this.#directory, name), 'hex')}\n`).join('');
  }

  /** libFuzzer takes each case of a corpus as a file. */
  #libFuzzerArgs(corpus: string): readonly string[] {
    const directory = join(this.#directory, 'corpus');
    mkdirSync(directory, { recursive: true });
    readCorpus(corpus).forEach((script, index) => writeFileSync(join(directory, String(index)), script));
    return [`-max_len=${MAX_SCRIPT_BYTES}`, `-artifact_prefix=${this.#directory}/`, directory];
  }

  async #start(args: readonly string[]): Promise<{ readonly status: number | null; readonly output: string }> {
    const child = spawn(this.#program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: ENVIRONMENT });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    }
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, output: output.split('\n').slice(-LAST_LINES).join('\n') };
  }
}

/** Scripts in hex, one a line; `#` begins a comment. */
function readCorpus(path: string): readonly Buffer[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.filter((line) => /^[0-9a-f]+$/.test(line)).map((line) => Buffer.from(line, 'hex'));
}
