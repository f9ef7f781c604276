/** The real programs as a user starts them, on functions written by the test. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { NetworkNamespace } from './network-namespace.ts';
import type { ControllerStatus } from '../../src/controller/controller.ts';
import type { RuntimeName } from '../../src/protocol/runtimes.ts';
import { pathWithFakeFirecracker } from './firecracker/path.ts';

export const PROJECT_ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const IMAGES = join(PROJECT_ROOT, 'images');
/** Staged functions and what KVM was seen to do, away from the user's own and kept from run to run. */
export const TEST_CACHE = join(IMAGES, 'test-cache');
export const TEST_SNAPSHOTS = join(TEST_CACHE, 'snapshots');
export const SNAPCTR = join(PROJECT_ROOT, 'dist/bin/snapctr.js');
export const BUILDER = join(PROJECT_ROOT, 'dist/bin/builder.js');
export const FIRERUNNER = join(PROJECT_ROOT, 'dist/bin/firerunner.js');

/** All base layers and a dozen functions, on two busy cores, in ms. */
const SNAPSHOTS_PATIENCE_MS = 60_000;
/** Dependencies of a function may have to be fetched, in ms. */
const DEPLOYMENT_PATIENCE_MS = 300_000;

/** `fake-firecracker`: the firecracker driver, with a stand-in for the program in PATH. */
export type TestVmm = 'qemu' | 'process' | 'firecracker' | 'fake-firecracker';

/** One function of a test: its files by name and further keys of its YAML. */
export interface TestFunction<R extends RuntimeName = 'python3' | 'nodejs'> {
  readonly name: string;
  readonly runtime: R;
  /** A `bootstrap`, and what is below `bin/`, can be executed. */
  readonly files: Readonly<Record<string, string | Buffer>>;
  /** Further YAML keys, such as `timeout`. */
  readonly keys?: Readonly<Record<string, string | number | boolean>>;
}

export interface Workspace {
  readonly directory: string;
  readonly config: string;
  /** Where the run directories of this workspace's firerunners live. */
  readonly runDirectory: string;
  remove(): void;
}

/** A controller configuration with these functions, in a directory of its own. */
export function createWorkspace(
  functions: readonly TestFunction<RuntimeName>[],
  controllerKeys: readonly string[] = [],
): Workspace {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
  const apps = join(directory, 'apps');
  mkdirSync(apps);
  for (const fn of functions) {
    for (const [name, text] of Object.entries(fn.files)) {
      const path = join(apps, fn.name, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text, { mode: /^(bootstrap$|bin\/)/.test(name) ? 0o755 : 0o644 });
    }
  }
  const entries = functions.map((fn) =>
    [
      `- name: ${fn.name}`,
      `  runtime: ${fn.runtime}`,
      `  appfs: ${fn.name}`,
      ...Object.entries({ memory: 128, ...fn.keys }).map(([key, value]) => `  ${key}: ${value}`),
    ].join('\n'),
  );
  writeFileSync(join(directory, 'functions.yaml'), entries.length === 0 ? '[]\n' : `${entries.join('\n')}\n`);
  const config = join(directory, 'controller.yaml');
  writeFileSync(
    config,
    [
      `kernel_path: ${join(IMAGES, 'vmlinux')}`,
      `runtimefs_dir: ${join(IMAGES, 'runtimefs')}`,
      `appfs_dir: ${apps}`,
      // Layers are kept by what they are made of: tests share them.
      ...(controllerKeys.some((key) => key.startsWith('snapshot_dir')) ? [] : [`snapshot_dir: ${TEST_SNAPSHOTS}`]),
      'function_config: functions.yaml',
      // Launching ahead is for the tests that ask for it: it would be in the books of all others.
      ...(controllerKeys.some((key) => key.startsWith('standby')) ? [] : ['standby: 0']),
      ...controllerKeys,
      '',
    ].join('\n'),
  );
  const runDirectory = join(directory, 'run');
  return { directory, config, runDirectory, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON. */
  readonly body: unknown;
}

/** The error object of an answer, or undefined. */
export function errorOf(
  answer: Answer,
): { code: string; message: string; type?: string; stack?: string[] } | undefined {
  const body = answer.body as { error?: { code: string; message: string } } | null;
  return typeof body === 'object' && body !== null ? body.error : undefined;
}

export interface RunningController {
  readonly url: string;
  readonly pid: number;
  /** All of its log so far, a line each. */
  readonly log: readonly string[];
  /** Resolves with the exit code, or the signal's name. */
  readonly exited: Promise<number | string>;
  invoke(name: string, payload: unknown, signal?: AbortSignal): Promise<Answer>;
  post(body: string): Promise<Answer>;
  status(): Promise<ControllerStatus>;
  /** Waits until the status satisfies a condition; fails after the time given, in ms. */
  until(condition: (status: ControllerStatus) => boolean, patienceMs?: number): Promise<ControllerStatus>;
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, and the end. */
  stop(): Promise<number | string>;
}

/**
 * Of this process. A suite whose time is over has no hooks run, so that nobody would end its controllers: they, and with them the file,
 * would run for ever.
 */
const controllers = new Set<ChildProcess>();
/** A file's own hooks run after the one below, and stop theirs within this time, in ms. */
const HOOKS_PATIENCE_MS = 60_000;
// Benchmarks use this room as well.
if (process.env['NODE_TEST_CONTEXT'] === undefined) process.once('exit', killLeftOver);
else after(() => void setTimeout(killLeftOver, HOOKS_PATIENCE_MS).unref());

function killLeftOver(): void {
  for (const { pid, exitCode, signalCode } of controllers) {
    if (pid === undefined || exitCode !== null || signalCode !== null) continue;
    console.error(`snapctr (process ${pid}) was not stopped by who started it, and is killed`);
    process.kill(pid, 'SIGKILL');
  }
}

/** Starts `snapctr --port 0`; resolves when it listens, and its functions answer or have failed. */
export async function startController(
  workspace: Workspace,
  options: {
    readonly vmm: TestVmm;
    readonly memoryMib?: number;
    readonly args?: readonly string[];
    /** Start VMs from snapshots: `true` waits until all that can be made are ready, `being made` does not. */
    readonly snapshots?: boolean | 'being made';
    /** A bearer token for all that is asked of it here, where there are keys. */
    readonly token?: string;
    /** False: it need only listen. */
    readonly deployed?: boolean;
    /** On top of this process's own. */
    readonly env?: NodeJS.ProcessEnv;
    /** Called with each line of its log. */
    readonly onLogLine?: (line: string) => void;
    /** Where it runs and listens; the host's network if absent. */
    readonly namespace?: NetworkNamespace;
  },
): Promise<RunningController> {
  const [program, argv] = options.namespace?.inside(process.execPath) ?? [process.execPath, []];
  const request: NetworkNamespace['fetch'] = options.namespace?.fetch ?? fetch;
  const isFake = options.vmm === 'fake-firecracker';
  const path = isFake ? { PATH: await pathWithFakeFirecracker(TEST_CACHE) } : {};
  const child = spawn(
    program,
    [
      ...argv,
      ...[SNAPCTR, '--config', workspace.config, '--mem', String(options.memoryMib ?? 1024), '--port', '0'],
      ...[
        '--vmm',
        isFake ? 'firecracker' : options.vmm,
        ...((options.snapshots ?? false) === false ? ['--no-snapshots'] : []),
        ...(options.args ?? []),
      ],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...environment(workspace), ...path, ...options.env } },
  );
  controllers.add(child);
  child.once('exit', () => controllers.delete(child));
  const log: string[] = [];
  const exited = once(child, 'exit').then(([status, signal]) => (status ?? signal) as number | string);
  const listening = new Promise<string>((resolve) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.push(line);
      options.onLogLine?.(line);
      const url = /^listening on (http:\S+)$/.exec(line)?.[1];
      if (url !== undefined) resolve(url);
    });
  });
  const url = await Promise.race([listening, exited]);
  if (typeof url !== 'string' || !url.startsWith('http')) {
    throw new Error(`snapctr ended with ${url}:\n${log.join('\n')}`);
  }
  const authorization: Record<string, string> =
    options.token === undefined ? {} : { authorization: `Bearer ${options.token}` };
  const post = async (body: string, signal?: AbortSignal): Promise<Answer> => {
    const response = await request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...authorization },
      body,
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: JSON.parse(text) as unknown };
  };
  const status = async (): Promise<ControllerStatus> =>
    (await (await request(`${url}/status`, { headers: authorization })).json()) as ControllerStatus;
  const controller: RunningController = {
    url,
    pid: child.pid ?? 0,
    log,
    exited,
    invoke: (name, payload, signal) => post(JSON.stringify({ function: name, payload }), signal),
    post,
    status,
    async until(condition, patienceMs = 10_000) {
      const deadline = Date.now() + patienceMs;
      for (;;) {
        const now = await status();
        if (condition(now)) return now;
        if (Date.now() > deadline) throw new Error(`the status did not come about: ${JSON.stringify(now)}`);
        await sleep(20);
      }
    },
    kill: (signal) => child.kill(signal),
    stop() {
      child.kill('SIGTERM');
      return exited;
    },
  };
  if (options.deployed ?? true) await controller.until(({ deploying }) => deploying === 0, DEPLOYMENT_PATIENCE_MS);
  if (options.snapshots === true) {
    const isDone = ({ snapshots }: ControllerStatus): boolean => snapshots.preparing === 0;
    await controller.until(isDone, SNAPSHOTS_PATIENCE_MS);
  }
  return controller;
}

export interface Finished {
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program of ours to its end. */
export async function run(
  program: string,
  args: readonly string[],
  options: { readonly workspace?: Workspace; readonly stdin?: string } = {},
): Promise<Finished> {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: 'pipe',
    cwd: PROJECT_ROOT,
    env: options.workspace === undefined ? process.env : environment(options.workspace),
  });
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  child.stdout.on('data', (chunk: Buffer) => chunks.stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.stderr.push(chunk));
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.stdin ?? '');
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return {
    status: status ?? signal ?? 'unknown',
    stdout: Buffer.concat(chunks.stdout).toString(),
    stderr: Buffer.concat(chunks.stderr).toString(),
  };
}

/** Run directories and staged functions apart from those of any other controller on this machine. */
let dataHomes = 0;

/** Each with a data directory of its own, as several may run at once; those that are to share one are given it by `--data-dir`. */
export function environment(workspace: Workspace): NodeJS.ProcessEnv {
  const XDG_DATA_HOME = join(workspace.directory, `data-${(dataHomes += 1)}`);
  return { ...process.env, SNAPFAAS_RUN_DIR: workspace.runDirectory, XDG_CACHE_HOME: TEST_CACHE, XDG_DATA_HOME };
}

/** What is left of a workspace's firerunners: processes that name its run directory, and entries in it. */
export function leftovers(workspace: Workspace): string[] {
  const left: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      const environ = readFileSync(`/proc/${pid}/environ`, 'utf8');
      const ours = command.includes(workspace.directory) || environ.includes(workspace.runDirectory);
      if (ours && command !== '') left.push(`process ${pid}: ${command.slice(0, 120)}`);
    } catch {
      // It ended while we looked.
    }
  }
  try {
    left.push(...readdirSync(workspace.runDirectory, { recursive: true }).map((name) => `file ${String(name)}`));
  } catch {
    // Never made, or removed.
  }
  return left;
}

/** Nothing may be left of a workspace within this time, in ms. */
export async function assertNothingLeft(workspace: Workspace, patienceMs = 5000): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const left = leftovers(workspace);
    if (left.length === 0) return;
    if (Date.now() > deadline) throw new Error(`left ${patienceMs} ms after the end:\n${left.join('\n')}`);
    await sleep(50);
  }
}
