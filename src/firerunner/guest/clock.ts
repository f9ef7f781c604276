/**
 * Runs in firerunner. A guest's clock, set by SYNC: the guest is told the time, and answers what its clock says then.
 *
 * ```
 *   host   T1 ──SYNC──▶ ─ ─ ─ ─▶ ◀──SYNCED── T2
 *   guest               C                          the true time at C is between T1 and T2
 * ```
 *
 * A busy host lets a guest wait before it reads what it was told, or firerunner before it reads the answer. So the guest is
 * told again until its clock is known to be right, and a clock that may be is never set back: a function would see the time
 * go backwards for what was only a slow message.
 */
import { randomBytes } from 'node:crypto';
import { ENTROPY_BYTES, FrameType, SYNC_BYTES } from '../../protocol/guest.ts';
import type { ControlChannel } from '../machine.ts';

const NS_PER_MS = 1_000_000n;
/** The longest exchange that shows that a guest's clock is right: it may be wrong by as much. */
const PRECISION_NS = 10n * NS_PER_MS;
/** A clock that is ahead of its own answer by more is wrong; the host's is read in whole ms. */
const AHEAD_NS = 2n * NS_PER_MS;
/** How often a guest is told again after one `set` or `check`. */
const MAX_ROUNDS = 8;

/** Of the clock that a guest begins with: its snapshot's, or that of whole seconds it was booted with. */
const ANY = 1;
const FORWARD_ONLY = 0;

export class GuestClock {
  readonly #control: Pick<ControlChannel, 'send'>;
  readonly #now: () => number;
  /** The time that was last told, in ns; null if its answer does not matter. */
  #told: bigint | null = null;
  #rounds = 0;

  /** @param now the host's clock, in ms since 1970. */
  constructor(control: Pick<ControlChannel, 'send'>, now: () => number = Date.now) {
    this.#control = control;
    this.#now = now;
  }

  /** Sets a clock of which nothing is known. */
  set(): void {
    this.#rounds = MAX_ROUNDS;
    this.#tell(ANY);
  }

  /** Sets a clock that was right before, and may still be: the guest slept, or the host was set. */
  check(): void {
    this.#rounds = MAX_ROUNDS;
    this.#tell(FORWARD_ONLY);
  }

  /** Sets the clock to another time than now, in ms since 1970. */
  setTo(wallClockMs: number): void {
    this.#send(wallClockMs, ANY);
    this.#told = null;
  }

  /** The answer to what was told at `told`: what the guest's clock said then. Both in ns since 1970. */
  onSynced(told: bigint, clock: bigint): void {
    // Of an answer that was overtaken by what was told since, nothing can be concluded.
    if (told !== this.#told || this.#rounds === 0) return;
    this.#rounds -= 1;
    const now = toNs(this.#now());
    if (clock - now > AHEAD_NS) this.#tell(ANY);
    else if (now - told > PRECISION_NS) this.#tell(FORWARD_ONLY);
  }

  #tell(direction: number): void {
    this.#told = this.#send(this.#now(), direction);
  }

  #send(wallClockMs: number, direction: number): bigint {
    const time = toNs(wallClockMs);
    const payload = Buffer.alloc(SYNC_BYTES);
    payload.writeBigUInt64BE(time);
    payload.writeUInt8(direction, 8);
    randomBytes(ENTROPY_BYTES).copy(payload, 9);
    this.#control.send(FrameType.sync, undefined, payload);
    return time;
  }
}

function toNs(ms: number): bigint {
  return BigInt(Math.round(ms)) * NS_PER_MS;
}
