/**
 * Rounds of faults on real programs under load. In each round something is killed, stopped or starved for a while, then all
 * has to be as it was:
 *
 * ```
 *   load ──────────────────────────────────────────▶ │ no more requests; each was answered, once, with its own nonce
 *          fault ──── held for a while ──── lifted    │ books exact; nothing left over; every function works; all snapshots there
 * ```
 *
 * What happens in a round depends on the seed and the round's number alone, but for the timing of the machine.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_PRESTARTED } from '../../src/controller/config/vmm.ts';
import type { ControllerStatus } from '../../src/controller/controller.ts';
import {
  createWorkspace,
  errorOf,
  leftovers,
  startController,
  type RunningController,
  type TestFunction,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';
import { type Fault, type Scene } from './host-faults.ts';
import { patient, type Ending } from './load.ts';
import { seeded } from '../../src/workload/random.ts';
import { isRunning, until, vmmsOf } from './processes.ts';

/** Functions of both languages and two sizes, so that they evict each other in `MEMORY_MIB`. */
export const FAULT_FUNCTIONS: readonly TestFunction[] = [
  patient('python-a', 'python3', { timeout: 20 }),
  patient('python-b', 'python3', { timeout: 20 }),
  patient('node-a', 'nodejs', { timeout: 20 }),
  patient('node-big', 'nodejs', { memory: 256, timeout: 20 }),
];
const MEMORY_MIB = 512;

const CLIENTS = 6;
const LONGEST_RUN_MS = 60;
/** A client that was refused comes back after this time, in ms. */
const REFUSED_PAUSE_MS = 25;
/** Boots of several VMs side by side, on a busy machine, in ms. */
const PATIENCE_MS = 120_000;

/** A snapshot that could not be opened or made for a lack of something is tried again after 1 s, 2 s and so on, in ms. */
const RETRY_PATIENCE_MS = 20_000;
const BLAME = /"msg":"snapshot: [^"]*(cannot be restored|damaged)/;

/** Two base layers and all functions, the same way. */
const FIRST_BUILDS_PATIENCE_MS = 300_000;

/** What may become of a request while the host is short of something, or loses a process. */
const HARMLESS: ReadonlySet<Ending> = new Set([
  ...['ok', 'failed as asked', 'resource_exhausted', 'queue_full'],
  ...['vm_lost', 'vm_launch_failed', 'function_timeout', 'shutting_down'],
]);
const NO_ANSWER: Ending = 'no answer';

/** Each a file system of its own where root may mount one, so that it can be filled. In MiB. */
const DISKS = { snapshots: 2048, run: 8 } as const;

/** A workspace with `FAULT_FUNCTIONS`, whose snapshots and run directory lie on small disks. */
export function createFaultWorkspace(): Workspace {
  const keys = ['snapshot_dir: snapshots', 'standby: 128'];
  const workspace = createWorkspace(FAULT_FUNCTIONS, keys);
  const places = Object.entries(DISKS).map(([name, mib]) => ({ path: join(workspace.directory, name), mib }));
  for (const { path, mib } of places) {
    mkdirSync(path, { mode: 0o700 });
    if (process.getuid?.() === 0) spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m,mode=0700`, 'snapfaas', path]);
  }
  const remove = (): void => {
    for (const { path } of places) spawnSync('umount', ['--lazy', path]);
    workspace.remove();
  };
  return { ...workspace, remove };
}

export interface FaultTotals {
  rounds: number;
  requests: number;
  readonly endings: Map<Ending, number>;
  readonly faults: Map<string, number>;
}

export class FaultRounds {
  readonly totals: FaultTotals = { rounds: 0, requests: 0, endings: new Map(), faults: new Map() };
  readonly #workspace: Workspace;
  readonly #vmm: TestVmm;
  readonly #seed: number;
  readonly #faults: readonly Fault[];
  /** Nonces that a handler has printed, and how often. */
  readonly #runs = new Map<string, number>();
  /** Lines of the log in which a snapshot is found wanting. */
  readonly #blamed: string[] = [];
  #controller: RunningController | null = null;
  #isEnding = false;

  /** @param faults those that may be inflicted. */
  constructor(workspace: Workspace, vmm: TestVmm, seed: number, faults: readonly Fault[]) {
    this.#workspace = workspace;
    this.#vmm = vmm;
    this.#seed = seed;
    this.#faults = faults;
  }

  /**
   * One round.
   *
   * @returns what was done.
   * @throws AssertionError that says which promise was broken.
   */
  async run(): Promise<string> {
    const number = this.totals.rounds;
    const random = seeded(this.#seed * 1_000_003 + number);
    const fault = this.#faults[Math.floor(random() * this.#faults.length)];
    if (fault === undefined) throw new Error('there is no fault that this host allows');
    const heldMs = Math.floor(fault.longestMs * random());
    const title = `round ${number}: ${fault.name} for ${heldMs} ms`;
    try {
      await this.#round(fault, heldMs, random);
    } catch (error) {
      throw new Error(`seed ${this.#seed}, ${title}: ${String(error)}\n${this.#lastWords()}`, { cause: error });
    }
    this.totals.rounds += 1;
    this.totals.faults.set(fault.name, (this.totals.faults.get(fault.name) ?? 0) + 1);
    return title;
  }

  async #round(fault: Fault, heldMs: number, random: () => number): Promise<void> {
    const controller = await this.#running();
    this.#isEnding = false;
    const clients = Array.from({ length: CLIENTS }, (_, n) => this.#client(seeded(random() * 2 ** 31 + n)));
    const load = Promise.all(clients);
    await sleep(200 + 600 * random());
    const status = await controller.status();
    const scene: Scene = { controller, workspace: this.#workspace, runnerPid: status.runner_pid, random };
    const lift = await fault.inflict(scene);
    await sleep(heldMs);
    await lift();
    const hasEnded = !isRunning(controller.pid);
    if (hasEnded) this.#controller = null;
    this.#isEnding = true;
    const endings = (await within(load, 'every request is answered')).flat();
    for (const ending of endings) {
      this.totals.endings.set(ending, (this.totals.endings.get(ending) ?? 0) + 1);
      const isExpected = HARMLESS.has(ending) || (ending === NO_ANSWER && fault.endsController);
      assert.ok(isExpected, `a request ended in ${ending}`);
    }
    this.totals.requests += endings.length;
    if (hasEnded) {
      assert.ok(fault.endsController, 'snapctr ended');
      await until('nothing is left of the dead snapctr', () => leftovers(this.#workspace).length === 0, PATIENCE_MS);
    }
    await this.#assertAsBefore();
  }

  /** Every function works again, the books are exact, no snapshot was lost, and nothing but live VMs is there. */
  async #assertAsBefore(): Promise<void> {
    const controller = await this.#running();
    for (const { name } of FAULT_FUNCTIONS) await this.#untilServed(controller, name);
    const settled = await controller.until(
      ({ vms, workers, snapshots }) =>
        workers.busy === 0 &&
        snapshots.preparing === 0 &&
        Object.values(vms).every((states) => Object.keys(states).every((state) => state === 'idle')),
      PATIENCE_MS,
    );
    const { memory, vms } = settled;
    assert.equal(memory.reserved_mib, memory.idle_mib, 'reserved is not idle');
    assert.equal(memory.free_mib, memory.total_mib - memory.reserved_mib, 'free is not what is left');
    const idle = Object.values(vms).reduce((sum, states) => sum + (states.idle ?? 0), 0);
    const runnerPid = settled.runner_pid ?? 0;
    // Firecracker's driver keeps some that wait.
    const waiting = this.#vmm.endsWith('firecracker') ? DEFAULT_PRESTARTED : 0;
    const isRight = (): boolean => vmmsOf(runnerPid).length === idle + waiting;
    await until('there is a VMM for each VM, and no other', isRight, 10_000);
    const directories = readdirSync(this.#workspace.runDirectory);
    assert.equal(directories.length, 1, `run directories: ${directories.join()}`);
    const names = readdirSync(join(this.#workspace.runDirectory, directories[0] ?? ''));
    assert.equal(names.filter((name) => /^vm-\d+$/.test(name)).length, idle, `directories of VMs: ${names.join()}`);
    if (this.#vmm !== 'process') await this.#untilRestorable(controller);
    assert.deepEqual(this.#blamed.splice(0), [], 'a snapshot was blamed for what the host lacked');
    for (const [nonce, times] of this.#runs) assert.equal(times, 1, `${nonce} ran ${times} times`);
    this.#runs.clear();
  }

  /** What the host lacked while a snapshot was opened or made, it lacks no more. */
  async #untilRestorable(controller: RunningController): Promise<void> {
    const isReady = ({ snapshots }: ControllerStatus): boolean => snapshots.ready === FAULT_FUNCTIONS.length;
    await controller.until(isReady, RETRY_PATIENCE_MS).catch((error: unknown) => {
      throw new Error(`snapshots were lost: ${String(error)}`);
    });
  }

  async #untilServed(controller: RunningController, name: string): Promise<void> {
    let ending: Ending = '';
    const isServed = async (): Promise<boolean> => {
      ending = await this.#ask(controller, name, { id: this.#nonce(), ms: 0, fail: false });
      if (ending !== 'ok') await sleep(REFUSED_PAUSE_MS * 4);
      return ending === 'ok';
    };
    await until(`${name} works again`, isServed, PATIENCE_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}; it ended in ${ending}`);
    });
  }

  async #client(random: () => number): Promise<Ending[]> {
    const endings: Ending[] = [];
    while (!this.#isEnding) {
      const controller = this.#controller;
      if (controller === null) return endings;
      const { name } = FAULT_FUNCTIONS[Math.floor(random() * FAULT_FUNCTIONS.length)] ?? { name: '' };
      const ms = Math.floor(random() * LONGEST_RUN_MS);
      const ending = await this.#ask(controller, name, { id: this.#nonce(), ms, fail: random() < 0.2 });
      endings.push(ending);
      if (ending !== 'ok' && ending !== 'failed as asked') await sleep(REFUSED_PAUSE_MS);
    }
    return endings;
  }

  #nonces = 0;
  #nonce(): string {
    return `${this.#seed}.${++this.#nonces}`;
  }

  async #ask(
    controller: RunningController,
    name: string,
    payload: { readonly id: string; readonly ms: number; readonly fail: boolean },
  ): Promise<Ending> {
    const answer = await controller.invoke(name, payload).catch(() => null);
    if (answer === null) return NO_ANSWER;
    const error = errorOf(answer);
    if (error === undefined) {
      assert.equal(answer.body, payload.id, "the answer is another request's");
      assert.equal(payload.fail, false, 'a request that should fail did not');
      return 'ok';
    }
    if (error.code === 'function_error' && error.type !== undefined && error.message !== payload.id) return 'vm_lost';
    return payload.fail && error.message === payload.id ? 'failed as asked' : error.code;
  }

  async #running(): Promise<RunningController> {
    if (this.#controller !== null) return this.#controller;
    const controller = await startController(this.#workspace, {
      vmm: this.#vmm,
      memoryMib: MEMORY_MIB,
      snapshots: this.#vmm === 'process' ? false : 'being made',
      onLogLine: (line) => {
        if (BLAME.test(line)) this.#blamed.push(line);
        const [, nonce] = /"text":"ran (\S+)\\n"/.exec(line) ?? [];
        if (nonce !== undefined) this.#runs.set(nonce, (this.#runs.get(nonce) ?? 0) + 1);
      },
    });
    this.#controller = controller;
    await controller.until(({ snapshots }) => snapshots.preparing === 0, FIRST_BUILDS_PATIENCE_MS);
    return controller;
  }

  /** What snapctr said last; of its lines only the last ones are kept. */
  #lastWords(): string {
    return this.#controller?.log.slice(-30).join('\n') ?? '';
  }

  /**
   * Ends snapctr.
   * @throws AssertionError if it does not end well.
   */
  async end(): Promise<void> {
    const controller = this.#controller;
    if (controller === null) return;
    assert.equal(await within(controller.stop(), 'snapctr ends'), 0);
    await until('nothing is left', () => leftovers(this.#workspace).length === 0, 10_000);
  }

  /** Ends it in any case. */
  async kill(): Promise<void> {
    this.#isEnding = true;
    this.#controller?.kill('SIGKILL');
    await this.#controller?.exited;
    await until('nothing is left', () => leftovers(this.#workspace).length === 0, 10_000).catch(() => undefined);
  }
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const end = new AbortController();
  const late = sleep(PATIENCE_MS, undefined, { signal: end.signal }).then(() => {
    throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    end.abort();
  }
}
