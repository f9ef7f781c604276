/**
 * Runs in snapctr. The one response serializer of the file gateway: all results become lines of one output, in order of
 * completion, each line whole.
 */
import { once } from 'node:events';
import { open, stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { messageOf } from '../../protocol/errors.ts';
import type { Outcome } from '../task.ts';

/** What is known of a request when its result is written; null where its line did not say. */
export interface ResultOrigin {
  /** Line of the request file, from 0. */
  readonly index: number;
  readonly time: number | null;
  readonly userId: number | null;
  readonly function: string | null;
}

/** What makes two paths the same file. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
}

/** Results that wait for a slow reader of the output; beyond this no further request is sent. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

/** One result as a line with its end: `{"index","time","user_id","function","status","response"|"error",…}`. */
export function resultLine(origin: ResultOrigin, outcome: Outcome, latencyMs: number): Buffer {
  const { index, time, userId } = origin;
  const head = `{"index":${index},"time":${time},"user_id":${userId},"function":${JSON.stringify(origin.function)}`;
  const tail = `,"start":${JSON.stringify(outcome.start)},"latency_ms":${Number(latencyMs.toFixed(3))}}\n`;
  if (outcome.status === 'error') {
    const { error } = outcome.error.toBody();
    return Buffer.from(`${head},"status":"error","error":${JSON.stringify(error)}${tail}`);
  }
  return Buffer.concat([
    Buffer.from(`${head},"status":"ok","response":`),
    onOneLine(outcome.result),
    Buffer.from(tail),
  ]);
}

/**
 * A JSON text without line breaks. Inside of JSON strings they can only be written as escapes, so every raw one is
 * whitespace between tokens, and a space says the same.
 */
function onOneLine(json: Buffer): Buffer {
  if (json.length === 0) return Buffer.from('null');
  if (!json.includes(0x0a) && !json.includes(0x0d)) return json;
  return Buffer.from(json.toString('latin1').replace(/[\r\n]+/g, ' '), 'latin1');
}

/** Writes result lines to a file or to stdout. */
export class ResultWriter {
  readonly #stream: Writable;
  readonly #failed: Promise<never>;
  #broken = false;

  private constructor(stream: Writable, place: string) {
    this.#stream = stream;
    this.#failed = new Promise((_resolve, reject) => {
      stream.on('error', (error) => {
        this.#broken = true;
        reject(new Error(`cannot write results to ${place}: ${error.message}`, { cause: error }));
      });
    });
    // Whoever asks for `failed` later still sees it.
    this.#failed.catch(() => undefined);
  }

  /**
   * @param output path of a file, which is made or emptied; null: stdout.
   * @param requests the file that is read meanwhile, and so must be another one.
   * @throws Error that says why the output cannot be written.
   */
  static async open(output: string | null, requests: FileIdentity): Promise<ResultWriter> {
    if (output === null) return new ResultWriter(process.stdout, 'stdout');
    const old = await stat(output).catch(() => null);
    if (old !== null && old.dev === requests.dev && old.ino === requests.ino) {
      throw new Error(`cannot write results to ${output}: it is the request file itself; give another --output`);
    }
    try {
      const file = await open(output, 'w');
      return new ResultWriter(file.createWriteStream(), output);
    } catch (error) {
      throw new Error(`cannot write results to ${output}: ${fileAdvice(error)}`, { cause: error });
    }
  }

  /** Rejects when the output fails; never resolves. */
  get failed(): Promise<never> {
    return this.#failed;
  }

  write(line: Buffer): void {
    if (!this.#broken) this.#stream.write(line);
  }

  /**
   * Resolves when the output is not far behind; at once if it is not.
   * @throws AbortError if `signal` aborts while it waits.
   */
  async caughtUp(signal: AbortSignal): Promise<void> {
    if (this.#stream.writableLength > MAX_WAITING_BYTES) await once(this.#stream, 'drain', { signal });
  }

  /** Resolves when every line was handed to the system. */
  async end(): Promise<void> {
    const stream = this.#stream;
    if (stream === process.stdout) await new Promise<void>((resolve) => stream.write('', () => resolve()));
    else await new Promise<void>((resolve) => stream.end(resolve));
  }

  /** Ends at once; lines that were not written yet are lost. */
  destroy(): void {
    if (this.#stream !== process.stdout) this.#stream.destroy();
  }
}

/** Why a file cannot be opened, in words for the user. */
export function fileAdvice(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
      return 'there is no such file or directory';
    case 'EACCES':
    case 'EPERM':
      return 'this user may not open it; change its rights';
    case 'EISDIR':
      return 'it is a directory; give a file';
    default:
      return messageOf(error);
  }
}
