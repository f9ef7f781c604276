/** Runs in snapctr. What a caller may want to know of one invocation besides its result: times, and the end of its output. */
import { MAX_LOG_BYTES_PER_REQUEST } from '../protocol/guest.ts';
import type { InvocationTimes } from '../logs/invocation-lines.ts';

export interface InvocationReport extends InvocationTimes {
  /** The last `KEPT_CHARACTERS` that the function printed, stdout and stderr in the order of their arrival. */
  readonly output: string;
}

/** AWS Lambda shows 4 KiB; in UTF-8 each of these takes a byte or more. */
const KEPT_CHARACTERS = 4096;
/** Output takes another way than the answer, by init and firerunner; it is waited for this long, in ms. */
const PATIENCE_MS = 500;

/** The end of the output of one invocation, as it arrives. */
export class InvocationOutput {
  #text = '';
  #isWhole = false;
  #onWhole: () => void = () => undefined;

  /** What has come so far. */
  get text(): string {
    return this.#text;
  }

  add(text: string): void {
    if (!this.#isWhole) this.#text = (this.#text + text).slice(-KEPT_CHARACTERS);
  }

  /** Nothing more will come. */
  end(): void {
    this.#isWhole = true;
    this.#onWhole();
  }

  /** Resolves when all has come, or after a while with what has. */
  async whole(): Promise<string> {
    if (!this.#isWhole) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#onWhole = resolve;
        timer = setTimeout(resolve, PATIENCE_MS);
      });
      clearTimeout(timer);
    }
    return this.#text;
  }
}

/** Invocations that are remembered, because their output may arrive after the next one began. */
const REMEMBERED = 16;

/** What an invocation may print, in characters: as many as bytes, and the guest's own mark of a cut. */
const MAX_PRINTED = MAX_LOG_BYTES_PER_REQUEST + 256;

interface RecentInvocation {
  /** Null before it has begun: what is printed between two invocations belongs to the next one. */
  readonly id: string | null;
  /** Null: the caller does not want the output. */
  readonly tail: InvocationOutput | null;
  printed: number;
}

/** What is to be logged of a piece of output. */
export interface Printed {
  /** Of the invocation that printed it; null if it is not known any more, or none did. */
  readonly id: string | null;
  readonly text: string;
  /** More than this is not kept. */
  readonly isCut: boolean;
}

/** The last invocations of one VM, by their number in it, from 1. 0 stands for all that came before. */
export class RecentInvocations {
  readonly #recent = new Map<number, RecentInvocation>([[0, { id: null, tail: null, printed: 0 }]]);
  #count = 0;

  /** All there were. */
  get count(): number {
    return this.#count;
  }

  begin(id: string, tail: InvocationOutput | null): void {
    this.#count += 1;
    this.#recent.set(this.#count, { id, tail, printed: this.#recent.get(this.#count)?.printed ?? 0 });
    this.#recent.delete(this.#count - REMEMBERED);
  }

  /**
   * The guest cuts what an invocation prints, but a function can make it believe that another one has begun. Here it is known
   * how many there were, so that no VM prints more than that.
   *
   * @returns null if nothing of it is kept.
   */
  add(number: number, text: string): Printed | null {
    const known = this.#recent.get(number);
    const invocation = known ?? this.#next();
    const room = MAX_PRINTED - invocation.printed;
    if (room <= 0) return null;
    const isCut = text.length > room;
    const kept = isCut ? text.slice(0, room) : text;
    invocation.printed += text.length;
    if (known !== undefined) invocation.tail?.add(kept);
    return { id: known?.id ?? null, text: kept, isCut };
  }

  #next(): RecentInvocation {
    const number = this.#count + 1;
    const next = this.#recent.get(number) ?? { id: null, tail: null, printed: 0 };
    this.#recent.set(number, next);
    return next;
  }

  /** The invocation has printed its last. */
  end(number: number): void {
    this.#recent.get(number)?.tail?.end();
  }

  /** The VM is gone. */
  endAll(): void {
    for (const { tail } of this.#recent.values()) tail?.end();
  }
}
