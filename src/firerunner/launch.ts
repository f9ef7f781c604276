/**
 * Runs in firerunner. From a launch spec to a VM that holds its function:
 *
 * ```
 *   boot ──▶ HELLO ──▶ LOAD ──▶ LOADED ──▶ ready ──▶ exited
 *     │        │                  │
 *     └────────┴──────────────────┴──▶ failed: the VM is killed, its directory removed
 * ```
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Frame } from '../protocol/frame.ts';
import {
  FrameType,
  GUEST_PROTOCOL_VERSION,
  MAX_PAYLOAD_BYTES,
  parseFailure,
  type FunctionFailure,
  type LoadRequest,
  type LogHeader,
} from '../protocol/guest.ts';
import type { LaunchFailure, LaunchSpec, LaunchTimings } from '../protocol/runner.ts';
import { LaunchError, type Driver, type Machine, type MachineExit } from './drivers/driver.ts';
import { LogDecoder } from './log-decoder.ts';

/** The app file system as a guest sees it. */
const GUEST_APP_ROOT = '/srv';
/** How long a VMM whose control channel closed may take to have ended as well, in ms. */
const EXIT_REPORT_MS = 500;

/** A VM whose function is loaded. */
export interface RunningVm {
  readonly timings: LaunchTimings;
  /** Resolves when the VM is gone. Never rejects. */
  readonly exited: Promise<MachineExit>;
  kill(): Promise<MachineExit>;
}

/** What a VM says on its own; called at any time between launch and exit. */
export interface VmObserver {
  /** The function channel's unix socket; it must be dialled at once. Called once, before the launch is over. */
  onChannel(guestAddress: string): void;
  onLog(header: LogHeader, text: string): void;
  /** The runtime ended inside the VM, which is of no more use. */
  onRuntimeExited(reason: string): void;
}

/** The function's own import failed; the machine was fine. */
export class FunctionLoadError extends Error {
  override readonly name = 'FunctionLoadError';
  readonly failure: FunctionFailure;

  constructor(failure: FunctionFailure) {
    super(`${failure.type}: ${failure.message}`);
    this.failure = failure;
  }
}

/**
 * @param signal ends the launch early; its reason is thrown.
 * @throws LaunchError, FunctionLoadError or the signal's reason; no process is left then.
 */
export async function launchVm(
  driver: Driver,
  spec: LaunchSpec,
  directory: string,
  observer: VmObserver,
  signal: AbortSignal,
): Promise<RunningVm> {
  const started = performance.now();
  const timeout = AbortSignal.timeout(spec.bootTimeoutMs);
  const surroundings = {
    directory,
    onChannel: (guestAddress: string): void => observer.onChannel(guestAddress),
    signal: AbortSignal.any([signal, timeout]),
  };
  const machine = await driver.boot(spec.machine, surroundings).catch((error: unknown) => {
    throw timeout.aborted ? timeoutError(spec, []) : error;
  });
  const spawned = performance.now();
  const guest = new GuestLife(machine, observer);
  const interrupted = new Promise<never>((_resolve, reject) => {
    const abort = (): void => {
      reject(signal.aborted ? reasonOf(signal) : timeoutError(spec, machine.consoleTail()));
    };
    signal.addEventListener('abort', abort, { once: true });
    timeout.addEventListener('abort', abort, { once: true });
    if (signal.aborted || timeout.aborted) abort();
  });
  try {
    await Promise.race([guest.hello, interrupted]);
    const booted = performance.now();
    machine.control.send(FrameType.setClock, undefined, clockNow());
    machine.control.send(FrameType.load, undefined, Buffer.from(JSON.stringify(loadRequest(driver, spec))));
    await Promise.race([guest.loaded, interrupted]);
    return {
      timings: { spawnMs: spawned - started, bootMs: booted - spawned, loadMs: performance.now() - booted },
      exited: machine.exited,
      kill: () => machine.kill(),
    };
  } catch (error) {
    await machine.kill();
    throw error;
  }
}

/** A failed launch as the event that reports it. */
export function launchFailure(error: unknown): LaunchFailure {
  if (error instanceof FunctionLoadError) return { kind: 'function', failure: error.failure };
  const console = error instanceof LaunchError ? error.console : [];
  return { kind: 'vmm', message: error instanceof Error ? error.message : String(error), console };
}

function loadRequest(driver: Driver, spec: LaunchSpec): LoadRequest {
  return {
    function: spec.function.name,
    root: driver.name === 'process' ? (spec.machine.appfsPath ?? '/') : GUEST_APP_ROOT,
    handler: spec.function.handler,
    environment: spec.function.environment,
    memory_mib: spec.machine.memoryMib,
    max_result_bytes: MAX_PAYLOAD_BYTES,
    output: driver.name === 'process' ? 'frames' : 'pipes',
  };
}

function reasonOf(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));
}

/** The payload of SET_CLOCK: a machine's own clock knows whole seconds only. */
function clockNow(): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeBigUInt64BE(BigInt(Date.now()) * 1_000_000n);
  return payload;
}

function timeoutError(spec: LaunchSpec, console: readonly string[]): LaunchError {
  return new LaunchError(`the VM did not come up within ${spec.bootTimeoutMs} ms`, { console });
}

/** Follows a guest through its life by the frames of the control channel. */
class GuestLife {
  readonly hello: Promise<void>;
  readonly loaded: Promise<void>;
  readonly #machine: Machine;
  readonly #observer: VmObserver;
  readonly #logs: LogDecoder;
  #onHello: () => void = () => undefined;
  #onLoaded: () => void = () => undefined;
  /** Rejects whichever step is waited for. */
  #fail: (error: Error) => void = () => undefined;

  constructor(machine: Machine, observer: VmObserver) {
    this.#machine = machine;
    this.#observer = observer;
    this.#logs = new LogDecoder((header, text) => observer.onLog(header, text));
    const failed = new Promise<never>((_resolve, reject) => (this.#fail = reject));
    this.hello = Promise.race([new Promise<void>((resolve) => (this.#onHello = resolve)), failed]);
    this.loaded = Promise.race([new Promise<void>((resolve) => (this.#onLoaded = resolve)), failed]);
    // After the launch nobody waits for these any more.
    for (const step of [failed, this.hello, this.loaded]) step.catch(() => undefined);
    machine.control.onFrame = (frame) => this.#onFrame(frame);
    machine.control.onClosed = (reason) => void this.#controlClosed(reason);
    void machine.exited.then((exit) => this.#lost(exit.reason));
  }

  /** A VMM that ends takes its sockets with it, and its end tells more than theirs. */
  async #controlClosed(reason: string): Promise<void> {
    const patience = new AbortController();
    const late = sleep(EXIT_REPORT_MS, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([this.#machine.exited, late]);
    patience.abort();
    this.#lost(reason);
  }

  /** The machine is of no more use: whoever waits for it learns why, and it ends. */
  #lost(reason: string): void {
    this.#fail(new LaunchError(reason, { console: this.#machine.consoleTail() }));
    void this.#machine.kill();
  }

  #onFrame(frame: Frame): void {
    switch (frame.type) {
      case FrameType.hello:
        if (frame.header['protocol'] === GUEST_PROTOCOL_VERSION) return this.#onHello();
        return this.#fail(
          new LaunchError(
            `the root file system speaks guest protocol ${JSON.stringify(frame.header['protocol'])}, this firerunner ` +
              `speaks ${GUEST_PROTOCOL_VERSION}; build the images again: snapctr images build all`,
          ),
        );
      case FrameType.loaded:
        return this.#onLoaded();
      case FrameType.loadFailed:
        return this.#fail(new FunctionLoadError(parseFailure(frame.payload)));
      case FrameType.log:
      case FrameType.logEnd:
        return this.#logs.push(frame);
      case FrameType.runtimeExited: {
        const { status, signal } = frame.header;
        const how = signal === undefined ? `exit status ${Number(status)}` : `signal ${Number(signal)}`;
        const reason = `the runtime ended with ${how}`;
        this.#fail(new LaunchError(reason, { console: this.#machine.consoleTail() }));
        return this.#observer.onRuntimeExited(reason);
      }
      case FrameType.initFailed:
        return this.#lost(`the guest's init failed: ${frame.payload.toString('utf8').slice(0, 500)}`);
      default:
        return this.#lost(`the guest sent a control frame of unknown type ${frame.type}`);
    }
  }
}
