/** Peers and the packages of workloads, as their registries have them: fetched once, and kept with what the tests fetch. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { withLock } from '../../src/storage/lock.ts';
import { TEST_CACHE } from '../../test/support/snapctr.ts';
import { NotInstalled } from './peer.ts';
import type { Workload } from './workloads.ts';

/** A Go program with all of its libraries, or packages of both languages. */
const INSTALL_LIMIT_MS = 300_000;

type Versions = Readonly<Record<string, string>>;

export const npmPackages = (packages: Versions): Promise<string> =>
  installed('npm', packages, (place) => {
    writeFileSync(join(place, 'package.json'), JSON.stringify({ private: true, dependencies: packages }));
    run(place, 'npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund']);
  });

/** To be named by PYTHONPATH. */
export const pythonPackages = (packages: Versions): Promise<string> =>
  installed('pip', packages, (place) => {
    const wanted = Object.entries(packages).map(([name, version]) => `${name}==${version}`);
    run(place, 'python3', ['-m', 'pip', 'install', '--quiet', '--root-user-action=ignore', '--target', '.', ...wanted]);
  });

export const goProgram = (path: string, version: string): Promise<string> =>
  installed('go', { [path]: version }, (place) => {
    run(place, 'go', ['install', `${path}@${version}`], { GOBIN: place });
  });

/** A directory with what the workload imports; that of npm has a lock file. */
export function dependenciesOf({ language, dependencies }: Workload): Promise<string> {
  return language === 'python3' ? pythonPackages(dependencies) : npmPackages(dependencies);
}

async function installed(kind: string, packages: Versions, install: (place: string) => void): Promise<string> {
  const digest = createHash('sha256').update(JSON.stringify(packages)).digest('hex').slice(0, 16);
  const place = join(TEST_CACHE, 'peers', `${kind}-${digest}`);
  await mkdir(dirname(place), { recursive: true });
  return withLock(`${place}.lock`, async () => {
    if (existsSync(place)) return place;
    const part = `${place}.part`;
    await rm(part, { recursive: true, force: true });
    await mkdir(part);
    install(part);
    await rename(part, place);
    return place;
  });
}

function run(cwd: string, program: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): void {
  const { status, signal, stderr, error } = spawnSync(program, args, {
    cwd,
    encoding: 'utf8',
    timeout: INSTALL_LIMIT_MS,
    env: { ...process.env, ...environment },
  });
  if (error !== undefined) throw new NotInstalled(`${program} does not run: ${error.message}`);
  if (status === 0) return;
  throw new NotInstalled(`${[program, ...args].join(' ')} ended with ${status ?? signal}: ${stderr.slice(-500)}`);
}
