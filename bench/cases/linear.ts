/**
 * What is done for each function: ten times as many of them may take twelve times as long. And what is done for one request or
 * one question: it may take no longer, nor stop the event loop for others.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuilderClient } from '../../src/controller/builder/builder-client.ts';
import { createBuild } from '../../src/controller/builder/function-files.ts';
import { loadConfig, type Config } from '../../src/controller/config/config.ts';
import { createLogger } from '../../src/controller/log.ts';
import { HOST_CLOCK } from '../../src/controller/pool/clock.ts';
import { FunctionUse } from '../../src/controller/pool/function-use.ts';
import { FunctionVms } from '../../src/controller/pool/function-vms.ts';
import { Standby } from '../../src/controller/pool/standby.ts';
import { Deployments } from '../../src/registry/deployments.ts';
import { FunctionRegistry } from '../../src/registry/function-registry.ts';
import { functionConfig, ScriptedGuests } from '../../test/support/scripted-guests.ts';
import { BUILDER, createWorkspace, type TestFunction, type Workspace } from '../../test/support/snapctr.ts';
import { result, type Benchmark, type Result } from '../result.ts';
import { Client } from '../support/client.ts';
import { startProbed, type Probed, type ProbedController } from '../support/probed.ts';

const FEW = 1000;
const MANY = 10_000;
/** Directories with the code of all of them: as many as functions would take minutes to be staged. */
const DIRECTORIES = 50;
const FEW_DIRECTORIES = 50;
const MANY_DIRECTORIES = 500;

/** For ten times as many, of what is done for each; and of what is done for one. */
const MOST_TIMES = 12;
const MOST_TIMES_FOR_ONE = 2;
const MOST_PAUSE_MS = 20;

/** Each size is measured so often, in turn: a machine that is busy for a while then slows both. */
const REPEATS = 3;
const REQUESTS = 1000;
const STATUSES = 50;
const MEMORY_MIB = 512;
/** Longer than the standby waits before it looks for something to do, in ms. */
const STANDBY_TICK_MS = 60;
/** The probe tells of each second at its end. */
const PROBE_MS = 1100;
/** What `max_payload` allows, with some room for what is around it. */
const LARGE_BYTES = 6 * 1024 * 1024 - 1024;

const source = (index: number): TestFunction['files'] => ({
  'workload.py': `def handle(request):\n    return ${index}\n`,
});

function growth(name: string, few: readonly number[], many: readonly number[], limit: number, what: string): Result {
  // The fastest is what it takes; what the machine did meanwhile only adds to it.
  const [fewest, most] = [Math.min(...few), Math.min(...many)];
  const ratio = most / fewest;
  const note = `${fewest.toPrecision(3)} ${what}; ten times as many: ${most.toPrecision(3)}`;
  return result(`linear-${name}`, ratio, 'ratio', { at: 'most', value: limit }, [ratio], note);
}

export const linear: Benchmark = {
  name: 'linear',
  async run() {
    const read = alternately((count) => readings(count, true));
    const wrong = alternately((count) => readings(count, false));
    const standby = alternately(standbyRequests);
    const staged = { few: await staging(FEW_DIRECTORIES), many: await staging(MANY_DIRECTORIES) };
    const served = { few: await serving(FEW), many: await serving(MANY) };
    const pause = (program: Probed): Result => {
      const [pauseMs, before] = [served.many.pauseMs[program], served.few.pauseMs[program]];
      const note = `${before.toFixed(1)} ms with ${FEW} functions; among requests, lists, and the loss of firerunner`;
      return result(`linear-pause-${program}`, pauseMs, 'ms', { at: 'most', value: MOST_PAUSE_MS }, [pauseMs], note);
    };
    return [
      growth('read', read.few, read.many, MOST_TIMES, `ms to read ${FEW} functions`),
      growth('spelling', wrong.few, wrong.many, MOST_TIMES, `ms for ${FEW} whose files are missing`),
      growth('stage', staged.few.first, staged.many.first, MOST_TIMES, `ms to stage ${FEW_DIRECTORIES} directories`),
      growth('staged', staged.few.again, staged.many.again, MOST_TIMES, 'ms to find them staged'),
      growth('start', [served.few.startMs], [served.many.startMs], MOST_TIMES, `ms to listen with ${FEW} functions`),
      growth('list', [served.few.listMs], [served.many.listMs], MOST_TIMES, `ms for all pages of ${FEW} functions`),
      growth(
        'status',
        served.few.statusMs,
        served.many.statusMs,
        MOST_TIMES_FOR_ONE,
        `ms for /status, ${FEW} functions`,
      ),
      growth('standby', standby.few, standby.many, MOST_TIMES_FOR_ONE, `µs a request, ${FEW} functions`),
      pause('snapctr'),
      pause('firerunner'),
      ...(await largeBodies()),
    ];
  },
};

/** `measure` for few and for many functions, in turn. */
function alternately(measure: (functions: number) => readonly number[]): { few: number[]; many: number[] } {
  const samples: { few: number[]; many: number[] } = { few: [], many: [] };
  for (let repeat = 0; repeat < REPEATS; repeat += 1) {
    samples.few.push(...measure(FEW));
    samples.many.push(...measure(MANY));
  }
  return samples;
}

/** A workspace with so many functions, which share directories. */
function crowd(functions: number, directories: number, prefix = ''): Workspace {
  const names = Array.from({ length: directories }, (_, i) => `app-${i}`);
  const workspace = createWorkspace(
    names.map((name, i) => ({ name, runtime: 'python3', files: source(i) })),
    ['standby: 256', 'snapshot_dir: snapshots'],
  );
  const entries = Array.from(
    { length: functions },
    (_, i) => `- name: function-${i}\n  runtime: python3\n  appfs: ${prefix}app-${i % directories}\n  memory: 128\n`,
  );
  writeFileSync(join(workspace.directory, 'functions.yaml'), entries.join(''));
  return workspace;
}

function load({ config, directory }: Workspace): Config {
  return loadConfig(config, { memoryMib: MEMORY_MIB, hostMemoryMib: 2 * MEMORY_MIB, vmm: 'process', cwd: directory });
}

/** How long reading a configuration takes, in ms. @param areThere false: there is no directory of any name, but similar ones. */
function readings(functions: number, areThere: boolean): number[] {
  const workspace = crowd(functions, areThere ? DIRECTORIES : functions, areThere ? '' : 'x');
  try {
    const began = performance.now();
    const { broken } = load(workspace);
    if ((broken.length === 0) !== areThere) throw new Error(`${broken.length} of ${functions} functions are broken`);
    return [performance.now() - began];
  } finally {
    workspace.remove();
  }
}

/** How long staging that many directories takes, and finding all of them staged, in ms. */
async function staging(directories: number): Promise<{ readonly first: number[]; readonly again: number[] }> {
  const workspace = crowd(directories, directories);
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = join(workspace.directory, 'cache');
  const stage = async (): Promise<number> => {
    const config = load(workspace);
    const began = performance.now();
    const builder = new BuilderClient([process.execPath, BUILDER], createLogger('silent'));
    const deployments = new Deployments({
      registry: new FunctionRegistry(),
      prepare: () => Promise.resolve(),
      discard: () => undefined,
      atOnce: 100,
    });
    try {
      const build = createBuild(builder, 'process', createLogger('silent'));
      await Promise.all([...config.functions.values()].map((fn) => deployments.deploy(fn, build)));
    } finally {
      await builder.close();
    }
    return performance.now() - began;
  };
  try {
    return { first: [await stage()], again: [await stage(), await stage(), await stage()] };
  } finally {
    if (before === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = before;
    workspace.remove();
  }
}

/** What launching ahead does for each of many requests to one of so many functions, in µs for each. */
function standbyRequests(functions: number): number[] {
  mock.timers.enable({ apis: ['setTimeout'] });
  const guests = new ScriptedGuests();
  const all = Array.from(
    { length: functions },
    (_, i) => new FunctionVms(functionConfig(`function-${i}`), new FunctionUse(`function-${i}`)),
  );
  const standby = new Standby({
    budgetMib: 64,
    launchAhead: () => Promise.reject(new Error('there is no room')),
    freeMib: () => MEMORY_MIB,
    dismiss: () => undefined,
    isBusy: () => false,
    clock: HOST_CLOCK,
    logger: createLogger('silent'),
  });
  try {
    for (const fn of all) standby.addCandidate(fn);
    const [first] = all;
    if (first === undefined) return [];
    const vm = guests.createVm(first, {});
    const rounds: number[] = [];
    for (let round = 0; round < 20; round += 1) {
      const began = performance.now();
      for (let i = 0; i < REQUESTS; i += 1) {
        standby.onTaken(all[i % functions] ?? first, vm);
        mock.timers.tick(STANDBY_TICK_MS);
      }
      rounds.push(((performance.now() - began) * 1000) / REQUESTS);
    }
    // Until everything is compiled.
    return rounds.slice(10);
  } finally {
    standby.close();
    guests.close();
    mock.timers.reset();
  }
}

interface Served {
  readonly startMs: number;
  readonly listMs: number;
  readonly statusMs: readonly number[];
  /** The longest while it served. */
  readonly pauseMs: Readonly<Record<Probed, number>>;
}

/** Real VMs, whose snapshots are being made all the while. */
async function serving(functions: number): Promise<Served> {
  const workspace = crowd(functions, DIRECTORIES);
  const start = async (): Promise<ProbedController> =>
    startProbed(workspace, { vmm: 'qemu', memoryMib: MEMORY_MIB, snapshots: 'being made' });
  // The first one stages the directories.
  await (await start()).stop();
  const began = performance.now();
  const controller = await start();
  const startMs = performance.now() - began;
  const client = new Client(controller.url);
  try {
    await sleep(PROBE_MS);
    const servingSince = Date.now();
    const listBegan = performance.now();
    const listed = await listAll(controller.url);
    if (listed !== functions) throw new Error(`${listed} of ${functions} functions were listed`);
    const listMs = performance.now() - listBegan;
    const statusMs: number[] = [];
    for (let i = 0; i < STATUSES; i += 1) {
      const asked = performance.now();
      await controller.status();
      statusMs.push(performance.now() - asked);
    }
    for (let i = 0; i < 5; i += 1) await client.invoke(`function-${i}`, null);
    const { runner_pid: pid } = await controller.status();
    await sleep(PROBE_MS);
    const longest = (program: Probed): number =>
      Math.max(...controller.samples(program).flatMap(({ at, pauseMs }) => (at > servingSince ? [pauseMs] : [])));
    const first = longest('firerunner');
    if (pid !== null) process.kill(pid, 'SIGKILL');
    await controller.until(({ runner_pid }) => runner_pid !== null && runner_pid !== pid, 30_000);
    await client.invoke('function-0', null);
    await sleep(2 * PROBE_MS);
    return {
      ...{ startMs, listMs, statusMs },
      pauseMs: { snapctr: longest('snapctr'), firerunner: Math.max(first, longest('firerunner')) },
    };
  } finally {
    client.close();
    await controller.stop();
    workspace.remove();
  }
}

async function listAll(url: string): Promise<number> {
  let count = 0;
  for (let marker: string | undefined = '0'; marker !== undefined;) {
    const response: Response = await fetch(`${url}/2015-03-31/functions?MaxItems=50&Marker=${marker}`);
    const page = (await response.json()) as { readonly Functions: readonly unknown[]; readonly NextMarker?: string };
    count += page.Functions.length;
    marker = page.NextMarker;
  }
  return count;
}

/** How long requests and answers of the largest size stop snapctr for everybody. */
async function largeBodies(): Promise<Result[]> {
  const echo: TestFunction = {
    ...{ name: 'echo', runtime: 'nodejs', files: { 'workload.js': 'exports.handle = async (request) => request;\n' } },
  };
  const workspace = createWorkspace([echo]);
  const controller = await startProbed(workspace, { vmm: 'process' });
  const client = new Client(controller.url);
  const numbers = Array.from({ length: LARGE_BYTES / 6 }, (_, i) => 10_000 + (i % 90_000));
  const bodies = { string: 'x'.repeat(LARGE_BYTES), numbers };
  try {
    const results: Result[] = [];
    for (const [name, body] of Object.entries(bodies)) {
      await client.invoke('echo', null);
      await sleep(PROBE_MS);
      const since = Date.now();
      for (let i = 0; i < 5; i += 1) {
        const { status } = await client.invoke('echo', body);
        if (status !== 200) throw new Error(`status ${status}`);
      }
      await sleep(PROBE_MS);
      const pauses = controller.samples('snapctr').flatMap(({ at, pauseMs }) => (at > since ? [pauseMs] : []));
      const note = 'the longest pause of snapctr while 6 MiB of JSON go to a function and come back, five times';
      results.push(result(`pause-6-mib-${name}`, Math.max(...pauses), 'ms', null, pauses, note));
    }
    return results;
  } finally {
    client.close();
    await controller.stop();
    workspace.remove();
  }
}
