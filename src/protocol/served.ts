/**
 * Runs in the processes that serve snapctr. Its commands come in as JSON lines on stdin, until it is gone or hangs: end of stdin
 * means that it is gone, whatever it died of. The other side is `serving-process.ts`.
 */
import type { Readable } from 'node:stream';
import { LineError, LineReader } from './lines.ts';

/** A snapctr that asks no more for so many seconds hangs, and what is done for it must not go on for ever. */
const SNAPCTR_HUNG_S = 60;

/** Commands are obeyed for so long before others have a turn, in ms. */
const SLICE_MS = 5;

export interface Served {
  /** The process, as messages call it. */
  readonly name: string;
  /** What comes of a snapctr that hangs, such as "all VMs are ended". */
  readonly ends: string;
  readonly maxLineBytes: number;
}

/**
 * Passes commands to `obey`, in their order: they are values of JSON, as snapctr sends them. One that is configured with thousands
 * of functions says as many things at once: of those a few are obeyed in a turn of the event loop, and nothing more is read
 * meanwhile. Resolves when they end, or snapctr asks no more whether this side lives.
 *
 * @param now in ms.
 */
export function obeyUntilSilent(
  { name, ends, maxLineBytes }: Served,
  stdin: Readable,
  obey: (command: unknown) => void,
  now: () => number = () => performance.now(),
): Promise<void> {
  return new Promise((resolve) => {
    const reader = new LineReader(maxLineBytes);
    let due: readonly string[] = [];
    /** Nothing follows what is due. */
    let isEnding = false;
    let isOver = false;
    let heartbeat: NodeJS.Timeout | null = null;
    // Counted, not timed: when both sides were stopped, or their host slept, neither hangs.
    let silentSeconds = 0;
    const end = (): void => {
      isOver = true;
      if (heartbeat !== null) clearInterval(heartbeat);
      stdin.off('data', onData).destroy();
      resolve();
    };
    const tick = (): void => {
      silentSeconds += 1;
      if (silentSeconds < SNAPCTR_HUNG_S) return;
      process.stderr.write(`${name}: snapctr said nothing for ${SNAPCTR_HUNG_S} s; ${ends}\n`);
      end();
    };
    const slice = (): void => {
      const until = now() + SLICE_MS;
      let next = 0;
      for (; next < due.length && !isOver; next += 1) {
        if (next > 0 && now() >= until) break;
        const command = parseCommand(due[next] ?? '');
        // Only a snapctr that died while it wrote leaves half a line behind.
        if (command === null) return end();
        if (isPing(command)) heartbeat ??= setInterval(tick, 1000);
        obey(command);
      }
      due = due.slice(next);
      if (isOver) return;
      if (due.length > 0) setImmediate(slice);
      else if (isEnding) end();
      else stdin.resume();
    };
    const onData = (chunk: Buffer): void => {
      silentSeconds = 0;
      const { lines, isBroken } = linesOf(reader, chunk);
      due = lines;
      isEnding ||= isBroken;
      stdin.pause();
      slice();
    };
    const onEnd = (): void => {
      isEnding = true;
      if (due.length === 0) end();
    };
    stdin.on('data', onData);
    // A stream that is paused may end as well.
    for (const event of ['end', 'error', 'close']) stdin.once(event, onEnd);
  });
}

/** Broken: the stream cannot be read any further. */
function linesOf(reader: LineReader, chunk: Buffer): { readonly lines: readonly string[]; readonly isBroken: boolean } {
  try {
    return { lines: reader.push(chunk), isBroken: false };
  } catch (error) {
    if (error instanceof LineError) return { lines: [], isBroken: true };
    throw error;
  }
}

/** Null: it is none. */
function parseCommand(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

function isPing(command: unknown): boolean {
  return typeof command === 'object' && command !== null && 'op' in command && command.op === 'ping';
}
