/**
 * Runs in the processes that serve snapctr. Its commands come in as JSON lines on stdin, until it is gone or hangs: end of stdin
 * means that it is gone, whatever it died of. The other side is `serving-process.ts`.
 */
import type { Readable } from 'node:stream';
import { LineError, LineReader } from './lines.ts';

/** A snapctr that asks no more for so many seconds hangs, and what is done for it must not go on for ever. */
const SNAPCTR_HUNG_S = 60;

export interface Served {
  /** The process, as messages call it. */
  readonly name: string;
  /** What comes of a snapctr that hangs, such as "all VMs are ended". */
  readonly ends: string;
  readonly maxLineBytes: number;
}

/**
 * Passes commands to `obey`: they are values of JSON, as snapctr sends them. Resolves when they end, or snapctr asks no more
 * whether this side lives.
 */
export function obeyUntilSilent(
  { name, ends, maxLineBytes }: Served,
  stdin: Readable,
  obey: (command: unknown) => void,
): Promise<void> {
  return new Promise((resolve) => {
    const reader = new LineReader(maxLineBytes);
    let heartbeat: NodeJS.Timeout | null = null;
    // Counted, not timed: when both sides were stopped, or their host slept, neither hangs.
    let silentSeconds = 0;
    const end = (): void => {
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
    const onData = (chunk: Buffer): void => {
      silentSeconds = 0;
      for (const command of parseCommands(reader, chunk)) {
        // Only a snapctr that died while it wrote leaves half a line behind.
        if (command === null) return end();
        if (isPing(command)) heartbeat ??= setInterval(tick, 1000);
        obey(command);
      }
    };
    stdin.on('data', onData);
    stdin.once('end', end);
    stdin.once('error', end);
    stdin.once('close', end);
  });
}

/** The last one is null if the stream cannot be read any further. */
function parseCommands(reader: LineReader, chunk: Buffer): readonly unknown[] {
  try {
    return reader.push(chunk).map(parseCommand);
  } catch (error) {
    if (error instanceof LineError) return [null];
    throw error;
  }
}

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
