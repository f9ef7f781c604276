/** The same handler in a container with the same root file system, as far as `runc` is installed. */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SYSTEM_FOLDER } from '../../src/images/app-debian.ts';
import { IMAGES } from '../../test/support/snapctr.ts';
import { EVENT, EXPECTED, type Measured } from './hello.ts';

export const RUNC_MISSING = 'runc is not installed (apt-get install runc), so there is nothing to compare with';

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

  /** @param app the function's files with its packages, as they were staged. */
  constructor({ runtime, once, environment }: Measured, app: string) {
    const rootfs = join(this.#bundle, 'rootfs');
    mkdirSync(rootfs);
    execFileSync('debugfs', ['-R', `rdump / ${rootfs}`, join(IMAGES, 'runtimefs', `${runtime}.ext4`)], {
      stdio: 'ignore',
    });
    cpSync(app, join(rootfs, 'srv'), { recursive: true, verbatimSymlinks: true });
    const packages = join(app, SYSTEM_FOLDER);
    if (existsSync(packages)) cpSync(packages, rootfs, { recursive: true, verbatimSymlinks: true });
    execFileSync('runc', ['spec', '--bundle', this.#bundle]);
    const path = join(this.#bundle, 'config.json');
    const spec = JSON.parse(readFileSync(path, 'utf8')) as {
      process: { terminal: boolean; args: readonly string[]; env: readonly string[] };
    };
    spec.process.terminal = false;
    spec.process.args = [...once, JSON.stringify(EVENT)];
    spec.process.env = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    writeFileSync(path, JSON.stringify(spec));
  }

  /** One run from the command to its answer, in ms. */
  async run(): Promise<number> {
    const start = performance.now();
    const id = `snapfaas-bench-${process.pid}-${++this.#runs}`;
    const { stdout } = await promisify(execFile)('runc', ['run', '--bundle', this.#bundle, id]);
    const took = performance.now() - start;
    if (JSON.stringify(JSON.parse(stdout)) !== JSON.stringify(EXPECTED)) throw new Error(`wrong answer: ${stdout}`);
    return took;
  }

  remove(): void {
    rmSync(this.#bundle, { recursive: true, force: true });
  }
}
