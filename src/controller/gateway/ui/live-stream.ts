/**
 * Runs in snapctr. Hands what has changed to the readers of a stream, ten times a second, and does nothing while there are none.
 *
 * ```
 *   source ──rows──▶ LiveTable ──patch──▶ log: [full][patch][patch]…  ──the same bytes──▶ each reader
 *                                          └── another full one, when the patches have become as large, or somebody comes
 * ```
 *
 * A reader has one message on its way at most. One that was slow goes on with the patches that it missed, or begins anew with the last
 * full message if they are not kept any more; one that takes nothing for long is hung up on by the gateway.
 */
import { SnapfaasError } from '../../../protocol/errors.ts';
import type { FunctionView } from '../../../protocol/live-state.ts';
import type { PartialOutput } from '../dialect.ts';
import type { HeaderList } from '../http-answer.ts';
import { LiveTable } from './live-table.ts';

/** Between two looks at what has changed, in ms. */
const TICK_MS = 100;
/** A stream on which nothing comes is not told from one that is broken. */
const HEARTBEAT_TICKS = 150;
const MAX_READERS = 1024;
/** Patches behind a full message: as large as it, but so much at least, in bytes. */
const SMALLEST_LOG_BYTES = 64 * 1024;

export interface LiveSource {
  /** Somebody reads from now on: all rows, into an empty table. */
  begin(table: LiveTable): void;
  /** What may have changed since. */
  update(table: LiveTable): void;
  /** Nobody reads any more. */
  end(): void;
  /** What is told of one function to whoever asks for it; null: there is no such function. */
  view(name: string): FunctionView | null;
}

interface Reader {
  readonly output: PartialOutput;
  readonly leave: () => void;
  /** Number of the patch that it needs next; 0: it knows nothing. */
  next: number;
  /** It has taken all that was written to it. */
  isReady: boolean;
}

/** Whoever comes is told nothing that is older: two seconds. */
const AGED_TICKS = 20;

const HEARTBEAT = Buffer.from(':\n\n');
const END = message('end', '{}');

export class LiveStream {
  readonly #source: LiveSource;
  readonly #headers: HeaderList;
  readonly #table = new LiveTable();
  readonly #readers = new Set<Reader>();
  /** All rows, as they were after the patch of this number; and the patches since. */
  #full: Buffer | null = null;
  #fullNumber = 0;
  #patches: Buffer[] = [];
  #patchBytes = 0;
  #quietTicks = 0;
  /** Since there is the full message. */
  #fullTicks = 0;
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  /** @param headers of each answer. */
  constructor(source: LiveSource, headers: HeaderList) {
    this.#source = source;
    this.#headers = headers;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Resolves when the reader is gone, or the stream has ended. @throws SnapfaasError `queue_full`: too many read it. */
  async read(output: PartialOutput): Promise<void> {
    if (this.#readers.size >= MAX_READERS) {
      const why = `${MAX_READERS} clients read this stream already; close one of them`;
      throw new SnapfaasError('queue_full', why, { retryAfterS: 10 });
    }
    if (this.#isClosed || output.isGone) return;
    if (this.#timer === null) this.#begin();
    // What is over would be seen as if it happened now. But a thousand who come at once have it made once.
    else if (this.#patches.length > 0 && this.#fullTicks >= AGED_TICKS)
      this.#renew(this.#fullNumber + this.#patches.length);
    await new Promise<void>((resolve) => {
      const leave = (): void => {
        if (!this.#readers.delete(reader)) return;
        output.onDrain = () => undefined;
        if (this.#readers.size === 0) this.#stop();
        resolve();
      };
      const reader: Reader = { output, leave, next: 0, isReady: true };
      this.#readers.add(reader);
      output.onDrain = () => {
        if (output.isGone) return leave();
        reader.isReady = true;
        this.#serve(reader);
      };
      this.#serve(reader);
    });
  }

  /** Every stream ends; nobody can begin one. */
  close(): void {
    this.#isClosed = true;
    for (const { output, leave } of [...this.#readers]) {
      output.write(this.#headers, END);
      leave();
    }
  }

  #begin(): void {
    this.#source.begin(this.#table);
    this.#table.takePatch();
    this.#renew(1);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#source.end();
    this.#table.clear();
    this.#full = null;
    this.#patches = [];
  }

  #renew(number: number): void {
    this.#full = message('full', this.#table.full());
    this.#fullNumber = number;
    this.#fullTicks = 0;
    this.#patches = [];
    this.#patchBytes = 0;
  }

  #tick(): void {
    this.#fullTicks += 1;
    this.#source.update(this.#table);
    const patch = this.#table.takePatch();
    this.#quietTicks = patch === null ? this.#quietTicks + 1 : 0;
    if (patch === null) {
      if (this.#quietTicks % HEARTBEAT_TICKS === 0) this.#beat();
      return;
    }
    const bytes = message('patch', patch);
    this.#patches.push(bytes);
    this.#patchBytes += bytes.length;
    for (const reader of [...this.#readers]) this.#serve(reader);
    if (this.#patchBytes > Math.max(SMALLEST_LOG_BYTES, this.#full?.length ?? 0)) {
      this.#renew(this.#fullNumber + this.#patches.length);
    }
  }

  #beat(): void {
    for (const reader of [...this.#readers]) {
      if (reader.output.isGone) reader.leave();
      else if (reader.isReady) reader.isReady = reader.output.write(this.#headers, HEARTBEAT);
    }
  }

  /** Writes what the reader misses, as far as it takes it. */
  #serve(reader: Reader): void {
    if (reader.output.isGone) return reader.leave();
    for (let bytes = this.#nextFor(reader); reader.isReady && bytes !== undefined; bytes = this.#nextFor(reader)) {
      reader.next = Math.max(reader.next, this.#fullNumber) + 1;
      reader.isReady = reader.output.write(this.#headers, bytes);
    }
  }

  #nextFor({ next }: Reader): Buffer | undefined {
    return next <= this.#fullNumber ? (this.#full ?? undefined) : this.#patches[next - this.#fullNumber - 1];
  }
}

export function message(event: string, json: string): Buffer {
  return Buffer.from(`event: ${event}\ndata: ${json}\n\n`);
}
