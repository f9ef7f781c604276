/** Programs in a container with the root file system of our VMs, as far as `runc` is installed. */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SYSTEM_FOLDER } from '../../src/images/app-debian.ts';
import { IMAGES } from '../../test/support/snapctr.ts';
import { EVENT, EXPECTED, type Measured } from './hello.ts';

export const RUNC_MISSING = 'runc is not installed (apt-get install runc), so there is nothing to compare with';

type Environment = Readonly<Record<string, string>>;

interface Spec {
  process: { terminal: boolean; args: readonly string[]; env: readonly string[]; cwd: string };
  linux: { namespaces: { readonly type: string }[] };
}

export function hasRunc(): boolean {
  try {
    execFileSync('runc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export class RuncBundle {
  readonly #bundle = mkdtempSync(join(tmpdir(), 'snapfaas-runc-'));
  #runs = 0;

  /** @param app the function's files with its packages, which it finds in `/srv`. */
  constructor(runtime: Measured['runtime'], app: string) {
    const rootfs = join(this.#bundle, 'rootfs');
    mkdirSync(rootfs);
    execFileSync('debugfs', ['-R', `rdump / ${rootfs}`, join(IMAGES, 'runtimefs', `${runtime}.ext4`)], {
      stdio: 'ignore',
    });
    cpSync(app, join(rootfs, 'srv'), { recursive: true, verbatimSymlinks: true });
    const packages = join(app, SYSTEM_FOLDER);
    if (existsSync(packages)) cpSync(packages, rootfs, { recursive: true, verbatimSymlinks: true });
    execFileSync('runc', ['spec', '--bundle', this.#bundle]);
  }

  /** A program that listens on a port of the host. */
  server(
    argv: readonly string[],
    environment: Environment,
  ): { readonly argv: readonly [string, ...string[]]; end(): Promise<unknown> } {
    this.#specify(argv, environment, { hostNetwork: true });
    const id = this.#nextId();
    return {
      argv: ['runc', 'run', '--bundle', this.#bundle, id],
      // Of a container whose `runc run` is killed, the program would stay.
      end: () => promisify(execFile)('runc', ['delete', '--force', id]),
    };
  }

  /** One run of the function from the command to its answer, in ms. */
  async run({ once, environment }: Measured): Promise<number> {
    if (this.#runs === 0) this.#specify([...once, JSON.stringify(EVENT)], environment, { hostNetwork: false });
    const start = performance.now();
    const { stdout } = await promisify(execFile)('runc', ['run', '--bundle', this.#bundle, this.#nextId()]);
    const took = performance.now() - start;
    if (JSON.stringify(JSON.parse(stdout)) !== JSON.stringify(EXPECTED)) throw new Error(`wrong answer: ${stdout}`);
    return took;
  }

  remove(): void {
    rmSync(this.#bundle, { recursive: true, force: true });
  }

  #nextId(): string {
    return `snapfaas-bench-${process.pid}-${++this.#runs}`;
  }

  #specify(
    args: readonly string[],
    environment: Environment,
    { hostNetwork }: { readonly hostNetwork: boolean },
  ): void {
    const path = join(this.#bundle, 'config.json');
    const spec = JSON.parse(readFileSync(path, 'utf8')) as Spec;
    spec.process.terminal = false;
    spec.process.args = args;
    spec.process.env = Object.entries({ PATH: '/usr/bin', ...environment }).map(([name, value]) => `${name}=${value}`);
    if (hostNetwork) spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== 'network');
    writeFileSync(path, JSON.stringify(spec));
  }
}
