/** Runs in snapctr. What a caller may want to know of one invocation besides its result: times, and the end of its output. */
import type { LaunchTimings } from '../protocol/runner.ts';

export interface InvocationReport {
  /** From handing the event to the VM until the answer. */
  readonly durationMs: number;
  readonly memoryMib: number;
  /** How the VM came up; null if the invocation was not the first on it. */
  readonly launch: LaunchTimings | null;
  /** The last `KEPT_CHARACTERS` that the function printed, stdout and stderr in the order of their arrival. */
  readonly output: string;
}

/** AWS Lambda shows 4 KiB; in UTF-8 each of these takes a byte or more. */
const KEPT_CHARACTERS = 4096;
/** Output takes another way than the answer, by init and firerunner; it is waited for this long, in ms. */
const PATIENCE_MS = 500;

/** The end of the output of one invocation, as it arrives. */
export class OutputTail {
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

/** The last invocations of one VM, by their number in it, from 1. */
export class RecentInvocations {
  /** `tail` null: the caller does not want the output. */
  readonly #recent = new Map<number, { readonly id: string; readonly tail: OutputTail | null }>();
  #count = 0;

  /** All there were. */
  get count(): number {
    return this.#count;
  }

  begin(id: string, tail: OutputTail | null): void {
    this.#count += 1;
    this.#recent.set(this.#count, { id, tail });
    this.#recent.delete(this.#count - REMEMBERED);
  }

  /** @returns the id of the invocation that printed this; null if it is not known any more, or none did. */
  add(number: number, text: string): string | null {
    const invocation = this.#recent.get(number);
    invocation?.tail?.add(text);
    return invocation?.id ?? null;
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
