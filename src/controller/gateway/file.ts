/**
 * Runs in snapctr. Requests from a file of JSON lines, sent at the times they ask for; results as JSON lines.
 *
 * The load is open: a request is sent when its `time` has come, whether or not earlier ones are answered. Times count
 * from the start instant, so delays do not add up.
 */
import { setMaxListeners } from 'node:events';
import { open, type FileHandle } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { SnapfaasError } from '../../protocol/errors.ts';
import { parseRequest, type InvocationRequest } from '../../protocol/request.ts';
import { newTaskId, type Outcome } from '../task.ts';
import { readLines, type Line } from './file-lines.ts';
import { fileAdvice, resultLine, ResultWriter, type ResultOrigin } from './file-results.ts';
import { SummaryCounter, type FileSummary } from './file-summary.ts';
import type { Gateway, SubmitTask } from './gateway.ts';

export type { FileSummary } from './file-summary.ts';

export interface FileGatewayOptions {
  readonly requestsFile: string;
  /** Path of the file for the results; null: stdout. */
  readonly output: string | null;
  /** Longest line. */
  readonly maxPayloadBytes: number;
  readonly submit: SubmitTask;
}

/** Node's timers cannot wait longer than this, in ms. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const UNKNOWN = { time: null, userId: null, function: null } as const;

/** See `Gateway`. Serves one file once. */
export class FileGateway implements Gateway {
  /** Resolves after the last answer is written; rejects if the requests cannot be read or the results not be written. */
  readonly finished: Promise<FileSummary>;
  readonly #options: FileGatewayOptions;
  readonly #counter = new SummaryCounter();
  /** Aborted: no further line is sent. */
  readonly #stopReading = new AbortController();
  /** Aborted: nobody waits for answers any more. One for all tasks. */
  readonly #gone = new AbortController();
  #finish: (summary: FileSummary) => void = () => undefined;
  #fail: (error: unknown) => void = () => undefined;
  #writer: ResultWriter | null = null;
  #startedAt = 0;
  /** `time` of the last request that was in order, in ms. */
  #lastTime = 0;
  #openTasks = 0;
  #onNoTasks: (() => void) | null = null;

  constructor(options: FileGatewayOptions) {
    this.#options = options;
    this.finished = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
    // A failure also reaches whoever asks later; nobody asking must not end the process.
    this.finished.catch(() => undefined);
    // One listener for each running request is no leak.
    setMaxListeners(0, this.#gone.signal);
  }

  /** Opens both files and starts the clock. @throws Error naming the file that cannot be used, and why. */
  async start(): Promise<void> {
    const requests = await openRequests(this.#options.requestsFile);
    try {
      this.#writer = await ResultWriter.open(this.#options.output, await requests.stat());
    } catch (error) {
      await requests.close();
      throw error;
    }
    this.#startedAt = performance.now();
    void this.#run(requests, this.#writer);
  }

  async drain(): Promise<void> {
    this.#stopReading.abort();
    if (this.#writer !== null) await this.finished;
  }

  close(): Promise<void> {
    this.#stopReading.abort();
    this.#gone.abort();
    this.#finish(this.#summary(false));
    this.#writer?.destroy();
    return Promise.resolve();
  }

  async #run(requests: FileHandle, writer: ResultWriter): Promise<void> {
    try {
      await Promise.race([this.#sendAll(requests, writer), writer.failed]);
      if (this.#openTasks > 0) {
        await Promise.race([new Promise<void>((resolve) => (this.#onNoTasks = resolve)), writer.failed]);
      }
      const summary = this.#summary(!this.#stopReading.signal.aborted);
      await Promise.race([writer.end(), writer.failed]);
      this.#finish(summary);
    } catch (error) {
      this.#stopReading.abort();
      this.#gone.abort();
      this.#fail(error);
      writer.destroy();
    }
  }

  async #sendAll(requests: FileHandle, writer: ResultWriter): Promise<void> {
    const { signal } = this.#stopReading;
    const { requestsFile, maxPayloadBytes } = this.#options;
    try {
      for await (const line of readLines(requests.createReadStream({ signal }), maxPayloadBytes)) {
        await this.#send(line);
        await writer.caughtUp(signal);
        if (signal.aborted) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw new Error(`cannot read requests from ${requestsFile}: ${fileAdvice(error)}`, { cause: error });
    }
  }

  /** Submits the request of a line when its time has come; a bad line is answered at once. */
  async #send(line: Line): Promise<void> {
    const index = line.number - 1;
    let request: InvocationRequest;
    try {
      request = this.#parse(line);
    } catch (error) {
      return this.#writeError({ index, ...UNKNOWN }, atLine(line, error));
    }
    const { time, userId } = request;
    const origin: ResultOrigin = { index, time, userId, function: request.function };
    if (time !== null) {
      if (time < this.#lastTime) {
        const reason = `its time ${time} is before ${this.#lastTime}, the time of an earlier line; sort the lines by time`;
        return this.#writeError(origin, atLine(line, new SnapfaasError('bad_request', reason)));
      }
      this.#lastTime = time;
      await this.#waitUntil(this.#startedAt + time);
    }
    if (!this.#stopReading.signal.aborted) this.#submit(origin, request);
  }

  #parse({ bytes }: Line): InvocationRequest {
    const { maxPayloadBytes } = this.#options;
    if (bytes === null) {
      throw new SnapfaasError('payload_too_large', `it is over the limit of ${maxPayloadBytes} bytes; send less`);
    }
    if (bytes.every(isSpace)) throw new SnapfaasError('bad_request', 'it is blank; remove it');
    return parseRequest(bytes, { maxPayloadBytes });
  }

  #submit(origin: ResultOrigin, request: InvocationRequest): void {
    const sentAt = performance.now();
    let answered = false;
    const reply = (outcome: Outcome): void => {
      if (answered) throw new Error(`bug: the request of line ${origin.index + 1} was answered twice`);
      answered = true;
      this.#write(origin, outcome, performance.now() - sentAt);
      this.#taskFinished();
    };
    this.#openTasks += 1;
    try {
      this.#options.submit({ id: newTaskId(), request, signal: this.#gone.signal, reply });
    } catch (error) {
      this.#writeError(origin, SnapfaasError.from(error));
      this.#taskFinished();
    }
  }

  #taskFinished(): void {
    this.#openTasks -= 1;
    if (this.#openTasks === 0) this.#onNoTasks?.();
  }

  #writeError(origin: ResultOrigin, error: SnapfaasError): void {
    this.#write(origin, { status: 'error', error, start: null }, 0);
  }

  #write(origin: ResultOrigin, outcome: Outcome, latencyMs: number): void {
    if (this.#gone.signal.aborted) return;
    this.#counter.add(outcome, latencyMs);
    this.#writer?.write(resultLine(origin, outcome, latencyMs));
  }

  /** @param instant as `performance.now()` counts. Returns early if reading is to stop. */
  async #waitUntil(instant: number): Promise<void> {
    const { signal } = this.#stopReading;
    for (;;) {
      const leftMs = Math.ceil(instant - performance.now());
      if (leftMs <= 0 || signal.aborted) return;
      await sleep(Math.min(leftMs, LONGEST_TIMER_MS), undefined, { signal }).catch(() => undefined);
    }
  }

  #summary(complete: boolean): FileSummary {
    return this.#counter.summary(performance.now() - this.#startedAt, complete);
  }
}

async function openRequests(path: string): Promise<FileHandle> {
  try {
    const file = await open(path, 'r');
    if (!(await file.stat()).isDirectory()) return file;
    await file.close();
  } catch (error) {
    throw new Error(`cannot read requests from ${path}: ${fileAdvice(error)}`, { cause: error });
  }
  throw new Error(`cannot read requests from ${path}: it is a directory; give a file of JSON lines`);
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}

/** The same error, telling where in the file it is. */
function atLine(line: Line, reason: unknown): SnapfaasError {
  const error = SnapfaasError.from(reason);
  return new SnapfaasError(error.code, `line ${line.number}: ${error.message}`, {
    details: { ...error.details, line: line.number },
    cause: error,
  });
}
