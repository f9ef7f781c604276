/**
 * Runs in firerunner. A guest's life as its control channel tells it, one step after the other:
 *
 * ```
 *   boot ──▶ hello ──▶ load ──┬──────────────────────────────▶ start ──▶ in use
 *             │               └─▶ seal ──▶ snapshot            ▲
 *             └─▶ snapshot        (function layer) ─ restore ──┘
 *        (base layer) ─ restore ─▶ load …
 * ```
 *
 * Every step rejects if the guest or its VMM is lost, or the launch is called off.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { countIn, type Frame, type FrameHeader } from '../../protocol/frame.ts';
import {
  EXIT_ERROR,
  FrameType,
  GUEST_PROTOCOL_VERSION,
  parseFailure,
  RESTORE_TIMED_OUT,
  SYNCED_BYTES,
  TIMED_OUT,
  type FunctionFailure,
  type LoadRequest,
  type LogHeader,
  type RuntimeExitHeader,
  type SealHeader,
  type StartHeader,
} from '../../protocol/guest.ts';
import { encodeNetwork, type GuestNetwork } from '../../protocol/guest-network.ts';
import type { GuestAddress } from '../../protocol/runner.ts';
import { exitError, LaunchError, type Machine } from '../machine.ts';
import { GuestClock } from './clock.ts';
import { LogDecoder } from './log-decoder.ts';
import { Throttle } from './throttle.ts';

/** How long a VMM whose control channel closed may take to have ended as well, in ms. */
const EXIT_REPORT_MS = 500;

/** What an event takes beside its text, about, in bytes. */
const EVENT_BYTES = 128;

/** What a VM says on its own; called at any time between launch and exit. */
export interface VmObserver {
  /** The function channel's unix socket; it must be dialled at once. Called once, before the launch is over. */
  onChannel(guestAddress: GuestAddress): void;
  /** @returns when the text has left this process, so that the guest can be held back until then; null: at once. */
  onLog(header: LogHeader, text: string): Promise<void> | null;
  /** All output of this invocation has come. @returns as `onLog`. */
  onLogEnd?(request: number): Promise<void> | null;
  /** The runtime ended inside the VM, which is of no more use. */
  onRuntimeExited(reason: string, exit: RuntimeExitHeader): void;
}

/** The function's own import, or one of its hooks, failed; the machine was fine. */
export class FunctionLoadError extends Error {
  override readonly name = 'FunctionLoadError';
  readonly failure: FunctionFailure;

  constructor(failure: FunctionFailure) {
    super(`${failure.type}: ${failure.message}`);
    this.failure = failure;
  }
}

/** The guest did not get ready in time, and it is not known that its function is why. */
export class LaunchTimeoutError extends LaunchError {
  readonly limitMs: number;

  /** @param console the machine's last words. */
  constructor(limitMs: number, console: readonly string[]) {
    super(`the VM did not come up within ${limitMs} ms`, { console });
    this.limitMs = limitMs;
  }
}

/** Processes of the function beside its runtime. */
export interface OtherProcesses {
  readonly count: number;
  /** Names of some of them, for a message. */
  readonly names: string;
}

interface Waiting {
  readonly type: number;
  /** What the function did if the time is up meanwhile; null: none of its code runs in this step. */
  readonly late: ((limitMs: number) => FunctionFailure) | null;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class GuestLife {
  readonly clock: GuestClock;
  readonly #machine: Machine;
  readonly #observer: VmObserver;
  readonly #logs: LogDecoder;
  readonly #throttle: Throttle;
  /** Type of a step that came before anybody waited for it: HELLO may, as the only one that needs no command. */
  #early: number | null = null;
  #waiting: Waiting | null = null;
  /** Of the latest SEALED. */
  #otherProcesses: OtherProcesses = { count: 0, names: '' };
  #failure: Error | null = null;

  /**
   * @param interrupted ends whatever step is waited for, with its reason.
   */
  constructor(machine: Machine, observer: VmObserver, interrupted: AbortSignal) {
    this.#machine = machine;
    this.clock = new GuestClock(machine.control);
    this.#observer = observer;
    this.#logs = new LogDecoder((header, text) => this.#said(Buffer.byteLength(text), observer.onLog(header, text)));
    this.#throttle = new Throttle(machine.control);
    machine.control.onFrame = (frame) => {
      this.#throttle.charge(frame.payload.length);
      this.#onFrame(frame);
    };
    machine.control.onClosed = (reason) => void this.#controlClosed(reason);
    void machine.exited.then((exit) => {
      this.#throttle.open();
      this.#fail(exitError(exit, machine.consoleTail()));
    });
    const onAbort = (): void => this.#fail(this.#interruption(interrupted.reason));
    interrupted.addEventListener('abort', onAbort, { once: true });
    if (interrupted.aborted) onAbort();
  }

  /** Waits until the runtime of a booted guest is up. */
  hello(): Promise<void> {
    return this.#step(FrameType.hello);
  }

  /** Gives the guest its addresses, or takes them away. Obeyed before whatever is sent next. */
  network(network: GuestNetwork | null): void {
    this.#machine.control.send(FrameType.network, undefined, encodeNetwork(network));
  }

  /** @throws FunctionLoadError if the import fails, or does not end in time: a guest that is up has nothing else to do. */
  load(request: LoadRequest): Promise<void> {
    this.#machine.control.send(FrameType.load, undefined, Buffer.from(JSON.stringify(request)));
    return this.#step(FrameType.loaded, (limitMs) =>
      timedOut(TIMED_OUT, `the import did not end within the ${limitMs} ms that a launch may take (--boot-timeout)`),
    );
  }

  /**
   * All processes of the function stand still from then on, until the next command.
   *
   * @returns which there are beside the runtime.
   * @throws FunctionLoadError if a hook before the snapshot fails.
   */
  async seal(step: SealHeader['step']): Promise<OtherProcesses> {
    await this.#command(FrameType.seal, { step } satisfies SealHeader, FrameType.sealed);
    return this.#otherProcesses;
  }

  /** @throws FunctionLoadError if a hook after the restore fails, or does not end in time. */
  start(restored: boolean): Promise<void> {
    const late = (limitMs: number): FunctionFailure =>
      timedOut(
        RESTORE_TIMED_OUT,
        `the hooks after the restore did not end within the ${limitMs} ms of a launch (--boot-timeout)`,
      );
    return this.#command(
      FrameType.start,
      { restored } satisfies StartHeader,
      FrameType.started,
      restored ? late : null,
    );
  }

  #command(type: number, header: FrameHeader, answer: number, late: Waiting['late'] = null): Promise<void> {
    this.#machine.control.send(type, header);
    return this.#step(answer, late);
  }

  #step(type: number, late: Waiting['late'] = null): Promise<void> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#early === type) {
      this.#early = null;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => (this.#waiting = { type, late, resolve, reject }));
  }

  #said(bytes: number, left: Promise<void> | null): void {
    if (left !== null) this.#throttle.wait(bytes + EVENT_BYTES, left);
  }

  #arrived(type: number): void {
    const waiting = this.#waiting;
    if (waiting === null && this.#early === null) {
      this.#early = type;
    } else if (waiting === null) {
      this.#lost(`the guest sent control frame ${type} where nothing was due`);
    } else if (waiting.type === type) {
      this.#waiting = null;
      waiting.resolve();
    } else {
      this.#lost(`the guest sent control frame ${type} where ${waiting.type} was due`);
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.reject(this.#failure);
  }

  #interruption(reason: unknown): Error {
    const late = this.#waiting?.late ?? null;
    if (reason instanceof LaunchTimeoutError && late !== null) return new FunctionLoadError(late(reason.limitMs));
    return reason instanceof Error ? reason : new Error(String(reason));
  }

  /** A VMM that ends takes its sockets with it, and its end tells more than theirs. */
  async #controlClosed(reason: string): Promise<void> {
    const patience = new AbortController();
    const late = sleep(EXIT_REPORT_MS, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([this.#machine.exited, late]);
    patience.abort();
    this.#lost(reason);
  }

  /** While it is imported, it is the function that ends the runtime; a hook that does costs it the snapshot. */
  #exitError(reason: string, exit: RuntimeExitHeader): Error {
    if (this.#waiting?.type !== FrameType.loaded) {
      return new LaunchError(reason, { console: this.#machine.consoleTail() });
    }
    return new FunctionLoadError({ type: EXIT_ERROR, message: `${reason} while it was loaded`, stack: [], exit });
  }

  /** The machine is of no more use: whoever waits for it learns why, and it ends. */
  #lost(reason: string): void {
    this.#fail(new LaunchError(reason, { console: this.#machine.consoleTail() }));
    void this.#machine.kill();
  }

  /** @throws FrameError if the guest breaks the protocol in what a header says. */
  #onFrame(frame: Frame): void {
    switch (frame.type) {
      case FrameType.hello: {
        const { protocol } = frame.header;
        if (protocol === GUEST_PROTOCOL_VERSION) return this.#arrived(frame.type);
        return this.#fail(
          new LaunchError(
            `the root file system speaks guest protocol ${typeof protocol === 'number' ? protocol : 'unknown'}, this ` +
              `firerunner speaks ${GUEST_PROTOCOL_VERSION}; build the images again: snapctr images build all`,
          ),
        );
      }
      case FrameType.sealed: {
        const names = frame.payload.toString('latin1').slice(0, 500);
        const isCounted = frame.header['processes'] !== undefined;
        this.#otherProcesses = { count: isCounted ? countIn(frame.header, 'processes') : 0, names };
        return this.#arrived(frame.type);
      }
      case FrameType.loaded:
      case FrameType.started:
        return this.#arrived(frame.type);
      case FrameType.loadFailed:
      case FrameType.hookFailed:
        return this.#fail(new FunctionLoadError(parseFailure(frame.payload)));
      case FrameType.synced:
        if (frame.payload.length !== SYNCED_BYTES) return this.#lost('the guest sent a SYNCED of another size');
        return this.clock.onSynced(frame.payload.readBigUInt64BE(), frame.payload.readBigUInt64BE(8));
      case FrameType.log:
        return this.#logs.push(frame);
      case FrameType.logEnd:
        this.#logs.push(frame);
        return this.#said(0, this.#observer.onLogEnd?.(countIn(frame.header, 'request')) ?? null);
      case FrameType.runtimeExited: {
        const kind = frame.header['signal'] === undefined ? 'status' : 'signal';
        const value = countIn(frame.header, kind);
        const exit: RuntimeExitHeader = {
          ...(kind === 'status' ? { status: value } : { signal: value }),
          ...(frame.header['begun'] === undefined ? {} : { begun: countIn(frame.header, 'begun') }),
        };
        const reason = `the runtime ended with ${kind === 'status' ? 'exit status' : 'signal'} ${value}`;
        this.#fail(this.#exitError(reason, exit));
        return this.#observer.onRuntimeExited(reason, exit);
      }
      case FrameType.initFailed:
        return this.#lost(`the guest's init failed: ${frame.payload.toString('utf8').slice(0, 500)}`);
      default:
        return this.#lost(`the guest sent a control frame of unknown type ${frame.type}`);
    }
  }
}

function timedOut(type: string, message: string): FunctionFailure {
  return { type, message, stack: [], raw: true };
}
