/**
 * Runs in the builder and in `npm start`. How long-running work tells what it does. Everything goes to stderr: stdout
 * belongs to results.
 */
import { spinner } from '@clack/prompts';

export interface Progress {
  /** Begins a step. It ends by `done` or `failed`, before the next begins. */
  step(name: string): ProgressStep;
}

export interface ProgressStep {
  /** What the step is at; may be called often. */
  update(text: string): void;
  /** The step worked; `result` is what it gave, such as a size. */
  done(result?: string): void;
  failed(): void;
}

/** Steps as a spinner on a terminal, as plain lines elsewhere. */
export function progressOn(stream: NodeJS.WriteStream): Progress {
  return stream.isTTY ? spinnerProgress(stream) : lineProgress(stream);
}

/** Tells nothing. */
export const SILENT: Progress = {
  step: () => ({ update: () => undefined, done: () => undefined, failed: () => undefined }),
};

/** Runs one step of work: done when it returns (with `describe` of its result), failed when it throws. */
export async function inStep<T>(
  progress: Progress,
  name: string,
  work: (step: ProgressStep) => Promise<T>,
  describe: (result: T) => string = () => '',
): Promise<T> {
  const step = progress.step(name);
  try {
    const result = await work(step);
    step.done(describe(result));
    return result;
  } catch (error) {
    step.failed();
    throw error;
  }
}

function spinnerProgress(output: NodeJS.WriteStream): Progress {
  return {
    step(name) {
      const started = performance.now();
      const indicator = spinner({ output, indicator: 'timer' });
      indicator.start(name);
      return {
        update: (text) =>
          indicator.message(`${name}: ${text.slice(0, Math.max(20, output.columns - name.length - 20))}`),
        done: (result) => indicator.stop(finished(name, result, started)),
        failed: () => indicator.error(`${name}: failed`),
      };
    },
  };
}

function lineProgress(stream: NodeJS.WritableStream): Progress {
  return {
    step(name) {
      const started = performance.now();
      stream.write(`${name} …\n`);
      return {
        update: () => undefined,
        done: (result) => stream.write(`${finished(name, result, started)}\n`),
        failed: () => stream.write(`${name}: failed\n`),
      };
    },
  };
}

function finished(name: string, result: string | undefined, startedMs: number): string {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  return `${name}: ${result === undefined || result === '' ? 'done' : result} (${seconds} s)`;
}
