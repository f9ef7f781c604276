/**
 * Runs in snapctr. What all requests and answers may take of memory together: bodies that still arrive, requests that wait or
 * run, answers that are not read yet. A full queue of large requests, or many clients that do not read, would take gigabytes.
 */
import { SnapfaasError } from '../../protocol/errors.ts';

const MIB = 1024 * 1024;
/** Bodies up to this size find room when large ones have taken all of theirs, in bytes. */
const SMALL_BYTES = 64 * 1024;
/** The part of the budget that is kept for them. */
const SHARE_OF_SMALL = 1 / 8;
/** An answer that has waited for longer for its reader is dropped when others need the room, in ms. */
const ANSWER_PATIENCE_MS = 1000;

/** An answer that its client has not read yet. */
export interface UnreadAnswer {
  /** Gives it up, and its client with it. */
  drop(): void;
}

interface Waiter {
  readonly bytes: number;
  readonly done: (hasRoom: boolean) => void;
}

export class ByteBudget {
  readonly maxBytes: number;
  #takenBytes = 0;
  /** Bodies in pieces that found no room for the next one, in order. */
  readonly #waiting = new Set<Waiter>();
  /** In the order in which they were given. */
  readonly #answers = new Map<UnreadAnswer, { readonly bytes: number; readonly since: number }>();
  #answerBytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** @returns false if there is no room; nothing is taken then. */
  tryTake(bytes: number): boolean {
    const room = bytes <= SMALL_BYTES ? this.maxBytes : this.maxBytes * (1 - SHARE_OF_SMALL);
    if (bytes > 0 && this.#takenBytes + bytes > room) return false;
    this.#takenBytes += bytes;
    return true;
  }

  /** Waits for room. @returns false if there is none within `limitMs`; nothing is taken then. */
  take(bytes: number, limitMs: number): Promise<boolean> {
    if (this.#waiting.size === 0 && this.tryTake(bytes)) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => waiter.done(false), limitMs);
      const waiter: Waiter = {
        bytes,
        done: (hasRoom) => {
          clearTimeout(timer);
          this.#waiting.delete(waiter);
          resolve(hasRoom);
        },
      };
      this.#waiting.add(waiter);
    });
  }

  give(bytes: number): void {
    this.#takenBytes -= bytes;
    for (const waiter of this.#waiting) {
      if (!this.tryTake(waiter.bytes)) return;
      waiter.done(true);
    }
  }

  /** Answers are taken in any case, and drop those that have waited long if together they take over half. */
  addAnswer(answer: UnreadAnswer, bytes: number): void {
    const now = performance.now();
    this.#answers.set(answer, { bytes, since: now });
    this.#answerBytes += bytes;
    this.#takenBytes += bytes;
    for (const [oldest, { since }] of this.#answers) {
      if (this.#answerBytes <= this.maxBytes / 2 || now - since < ANSWER_PATIENCE_MS) return;
      this.removeAnswer(oldest);
      oldest.drop();
    }
  }

  /** It was read, or its client is gone. Safe to call again. */
  removeAnswer(answer: UnreadAnswer): void {
    const held = this.#answers.get(answer);
    if (held === undefined) return;
    this.#answers.delete(answer);
    this.#answerBytes -= held.bytes;
    this.give(held.bytes);
  }

  /** For whoever found no room. */
  exhausted(): SnapfaasError {
    const mib = Math.floor(this.maxBytes / MIB);
    const message = `requests and answers fill the ${mib} MB that they may take; send it again later, or raise request_memory`;
    return new SnapfaasError('queue_full', message);
  }
}
