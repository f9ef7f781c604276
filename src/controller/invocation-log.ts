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
