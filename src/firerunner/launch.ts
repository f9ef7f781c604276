/**
 * Runs in firerunner. From a launch spec to a VM that can be invoked:
 *
 * ```
 *   boot ──▶ HELLO ──┬──▶ LOAD ──▶ LOADED ──┬──▶ START ──▶ STARTED ──▶ ready ──▶ exited
 *   restore a base ──┘                      │
 *   restore a function ─────────────────────┘
 *      any of these ──▶ failed: the VM is killed
 * ```
 */
import { logGroup } from '../protocol/arn.ts';
import { messageOf } from '../protocol/errors.ts';
import { MAX_LAMBDA_RESULT_BYTES, MAX_PAYLOAD_BYTES, type LoadRequest } from '../protocol/guest.ts';
import type {
  FunctionSpec,
  GuestAddress,
  LaunchFailure,
  LaunchSpec,
  LaunchTimings,
  MachineSpec,
} from '../protocol/runner.ts';
import { VMMS } from '../protocol/vmms.ts';
import {
  LaunchError,
  type Driver,
  type Machine,
  type MachineExit,
  type NetworkAttachment,
  type SavedMachine,
  type Surroundings,
} from './machine.ts';
import { FunctionLoadError, GuestLife, LaunchTimeoutError, type VmObserver } from './guest/guest-life.ts';
import { requireTap } from './network/host-tap.ts';
import type { TapLease, TapPool } from './network/tap-pool.ts';
import { lambdaEnvironment } from './guest/lambda-environment.ts';

export { LaunchTimeoutError } from './guest/guest-life.ts';

/** The app file system as a guest sees it, by the handler's style. */
const GUEST_APP_ROOTS = { original: '/srv', lambda: '/var/task' } as const;

/** A VM whose function can be invoked. */
export interface RunningVm {
  readonly timings: LaunchTimings;
  readonly machine: Machine;
  /** Resolves when the VM is gone. Never rejects. */
  readonly exited: Promise<MachineExit>;
  /** Gives a paused VM its CPU back, and the right time: clocks that were calibrated on a busy host drift meanwhile. */
  resume(): void;
  kill(): Promise<MachineExit>;
}

/** A snapshot of a guest: its runtime is up, and holds the function or none yet. */
export interface SavedGuest {
  readonly machine: SavedMachine;
  readonly holdsFunction: boolean;
}

export interface Launch {
  readonly driver: Driver;
  readonly spec: LaunchSpec;
  /** The snapshot it comes from; null: boot. */
  readonly from: SavedGuest | null;
  /** For the machine's sockets. */
  readonly directory: string;
  /** For machines with a network; null: there are none. */
  readonly taps: TapPool | null;
  readonly observer: VmObserver;
  /** Ends the launch early; its reason is thrown. */
  readonly signal: AbortSignal;
  /** Called when the machine runs, and the rest of the launch is the guest's work. */
  readonly onRunning?: () => void;
  /** Called when the function is imported. */
  readonly onLoaded?: () => void;
}

/** @throws LaunchError, FunctionLoadError or the signal's reason; no process is left then. */
export async function launchVm({ driver, spec, from, directory, taps, observer, ...rest }: Launch): Promise<RunningVm> {
  const started = performance.now();
  return withTimeLimit(spec.bootTimeoutMs, rest.signal, async (signal, onMachine, restart) => {
    const onChannel = (address: GuestAddress): void => observer.onChannel(address);
    const { machine, tap } = await withTap(spec.machine, taps, { signal }, (network) =>
      startMachine(driver, spec, from, { directory, network, onChannel, signal }),
    );
    onMachine(machine);
    const kill = (): Promise<MachineExit> => {
      tap?.ending();
      return machine.kill();
    };
    try {
      const guest = new GuestLife(machine, observer, signal);
      const holdsFunction = from?.holdsFunction ?? false;
      if (from === null) await guest.hello();
      rest.onRunning?.();
      const booted = holdsFunction ? machine.spawnedAt : performance.now();
      if (tap !== null) guest.network(tap.guest);
      if (!holdsFunction) {
        // The import has all of the time: what the host took of it is not the function's fault.
        restart();
        guest.clock.set();
        await guest.load(loadRequest(driver, spec, 'on-demand'));
      }
      rest.onLoaded?.();
      const loaded = performance.now();
      if (holdsFunction) guest.clock.set();
      else guest.clock.check();
      await guest.start(holdsFunction);
      const timings: LaunchTimings = {
        kind: holdsFunction ? 'restored' : 'cold',
        spawnMs: machine.spawnedAt - started,
        bootMs: booted - machine.spawnedAt,
        loadMs: loaded - booted,
        resumeMs: performance.now() - loaded,
      };
      const resume = (): void => {
        // Before the CPU: init then finds it beside the request.
        guest.clock.check();
        machine.resume();
      };
      return { timings, machine, exited: machine.exited, resume, kill };
    } catch (error) {
      await kill();
      throw error;
    }
  });
}

/**
 * Starts a machine on a tap of its own if it has a network. The tap is given back when the machine's process has ended.
 *
 * @param isBrief see `TapPool.take`.
 */
export async function withTap(
  spec: MachineSpec,
  taps: TapPool | null,
  { signal, isBrief = false }: { readonly signal: AbortSignal; readonly isBrief?: boolean },
  start: (network: NetworkAttachment | null) => Promise<Machine>,
): Promise<{ readonly machine: Machine; readonly tap: TapLease | null }> {
  if (!spec.network) return { machine: await start(null), tap: null };
  if (taps === null) {
    throw new LaunchError(
      "the VM is to have a network, but no taps are configured: add `network` to the controller's configuration",
    );
  }
  const tap = await taps.take(signal, isBrief);
  try {
    requireTap(tap.attachment.tapName);
    const machine = await start(tap.attachment);
    try {
      // One that has vanished meanwhile was made anew by a VMM that may make taps, and is down: nobody is at its other end.
      requireTap(tap.attachment.tapName);
    } catch (error) {
      await machine.kill();
      throw error;
    }
    void machine.exited.then(() => tap.release());
    return { machine, tap };
  } catch (error) {
    // A start that fails leaves no process.
    tap.release();
    throw error;
  }
}

function startMachine(
  driver: Driver,
  { machine }: LaunchSpec,
  from: SavedGuest | null,
  surroundings: Surroundings,
): Promise<Machine> {
  if (from === null) return driver.boot(machine, surroundings);
  if (driver.snapshots === null) throw new LaunchError(`the ${driver.name} driver has no snapshots`);
  return driver.snapshots.restore(machine, from.machine, surroundings);
}

/**
 * Runs `work` with a signal that aborts when `outer` does, or with a LaunchError when the time is up, which then quotes
 * the machine's last words. `work` may have the time start again.
 */
export async function withTimeLimit<T>(
  limitMs: number,
  outer: AbortSignal,
  work: (signal: AbortSignal, onMachine: (machine: Machine) => void, restart: () => void) => Promise<T>,
): Promise<T> {
  // Not AbortSignal.any: Node keeps its signals for ever if a listener is left on them, and a guest listens all its life.
  const either = new AbortController();
  const onOuter = (): void => either.abort(outer.reason);
  let machine: Machine | null = null;
  const timer = setTimeout(() => {
    const console = machine?.consoleTail() ?? [];
    either.abort(new LaunchTimeoutError(limitMs, console));
  }, limitMs);
  outer.addEventListener('abort', onOuter, { once: true });
  if (outer.aborted) onOuter();
  try {
    const onMachine = (started: Machine): void => void (machine = started);
    return await work(either.signal, onMachine, () => timer.refresh());
  } finally {
    clearTimeout(timer);
    outer.removeEventListener('abort', onOuter);
  }
}

/** A failed launch as the event that reports it. */
export function launchFailure(error: unknown): LaunchFailure {
  if (error instanceof FunctionLoadError) return { kind: 'function', failure: error.failure };
  const console = error instanceof LaunchError ? error.console : [];
  return { kind: 'vmm', message: messageOf(error), console };
}

/** What the function says of its container image; nothing if it is none. */
function imageOf({ container }: FunctionSpec): Pick<LoadRequest, 'image'> {
  if (container === undefined) return {};
  const { entryPoint, command, workingDirectory } = container;
  return {
    image: {
      ...(entryPoint !== null && { entry_point: entryPoint }),
      ...(command !== null && { command }),
      ...(workingDirectory !== null && { working_directory: workingDirectory }),
    },
  };
}

function webOf({ web }: FunctionSpec): Pick<LoadRequest, 'web'> {
  if (web === undefined) return {};
  const { port, command, maxConcurrency } = web;
  return { web: { port, command, max_concurrency: maxConcurrency } };
}

/** What the guest is told of the function. */
export function loadRequest(
  driver: Driver,
  spec: LaunchSpec,
  initialization: LoadRequest['initialization'],
): LoadRequest {
  const { name, version, handler, environment, arn, web } = spec.function;
  const style = handler === null && web === undefined ? 'original' : 'lambda';
  const { isolates } = VMMS[driver.name];
  return {
    function: name,
    handler,
    root: isolates ? GUEST_APP_ROOTS[style] : (spec.machine.appfsPath ?? '/'),
    style,
    initialization,
    version,
    arn,
    log_group: logGroup(name),
    environment: style === 'lambda' ? lambdaEnvironment(spec) : environment,
    ...imageOf(spec.function),
    memory_mib: spec.machine.memoryMib,
    ...webOf(spec.function),
    max_result_bytes: style === 'lambda' ? MAX_LAMBDA_RESULT_BYTES : MAX_PAYLOAD_BYTES,
    output: isolates ? 'pipes' : 'frames',
  };
}
