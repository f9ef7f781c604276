/**
 * Runs in the fake Firecracker. What a test wants to go wrong, given as JSON in `FAKE_FIRECRACKER_FAULT`: one fault or a
 * list of them.
 *
 * - `at`: `start` (before anything), `listen` (before the API socket is bound), a request such as
 *   `PUT /snapshot/load`, `boot` (before the guest's runtime is started), `vsock` (a CONNECT of the host) or `vsock 1025`
 *   (one to that port).
 * - `when`: `before` (default) or `after`; `after` is for requests: when the answer is in the socket.
 * - `do`, with its members:
 *   - `exit` `status` (default 1) | `signal` `signal` | `hang` | `delay` `ms` | `flood` `bytes` (to stdout)
 *   - for requests: `refuse` `text` (400 with that fault_message) | `garbage` `text` (400 with a body that is no JSON)
 *   - for `vsock`, where `hang` means that one connection is never answered: `eof` (closed before OK) | `split` (OK byte by
 *     byte) | `together` (OK and the guest's first bytes in one write) | `reset` (OK, and at once the end)
 * - `skip` (default 0): so many times it passes first; `times` (default: always): so many times it strikes.
 * - `marker`: path of a file that need not exist; the times are then counted over all processes that share it (in files
 *   beside it), so that a retry in a new process can succeed. `times` is 1 then by default.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { Journal } from './journal.ts';

const ACTIONS = [
  'exit',
  'signal',
  'hang',
  'delay',
  'flood',
  'refuse',
  'garbage',
  'eof',
  'split',
  'together',
  'reset',
] as const;
const MEMBERS: ReadonlySet<string> = new Set('at when do status signal ms bytes text skip times marker'.split(' '));

export interface Fault {
  readonly at: string;
  readonly when?: 'before' | 'after';
  readonly do: (typeof ACTIONS)[number];
  readonly status?: number;
  readonly signal?: NodeJS.Signals;
  readonly ms?: number;
  readonly bytes?: number;
  readonly text?: string;
  readonly skip?: number;
  readonly times?: number;
  readonly marker?: string;
}

export class Faults {
  readonly #faults: readonly { readonly fault: Fault; hits: number }[];
  readonly #journal: Journal;

  /** @throws Error if the text is no fault or list of faults. */
  constructor(text: string | null, journal: Journal) {
    const value: unknown = text === null ? [] : JSON.parse(text);
    this.#faults = (Array.isArray(value) ? value : [value]).map((one: unknown) => ({ fault: checked(one), hits: 0 }));
    this.#journal = journal;
  }

  /** The fault that strikes here and now, if one does. Each call counts as one time. */
  take(at: string, when: 'before' | 'after' = 'before'): Fault | null {
    for (const entry of this.#faults) {
      const { fault } = entry;
      if (fault.at !== at || (fault.when ?? 'before') !== when) continue;
      const { skip = 0, marker, times = marker === undefined ? Infinity : 1 } = fault;
      const hit = marker === undefined ? ++entry.hits : hitOverProcesses(marker, skip + times);
      if (hit <= skip || hit > skip + times) continue;
      this.#journal.write('fault', { fault });
      return fault;
    }
    return null;
  }

  /**
   * Carries out what happens to the process as a whole. Resolves when it goes on, perhaps never.
   *
   * @param exit ends the process in order.
   */
  async perform(fault: Fault | null, exit: (status: number, reason: string) => void): Promise<void> {
    switch (fault?.do) {
      case 'exit':
        exit(fault.status ?? 1, 'a fault was asked for');
        return new Promise(() => undefined);
      case 'signal':
        process.kill(process.pid, fault.signal ?? 'SIGKILL');
        return new Promise(() => undefined);
      case 'hang':
        // A process that waits for nothing would end.
        setInterval(() => undefined, 2 ** 30);
        return new Promise(() => undefined);
      case 'delay':
        return new Promise((resolve) => setTimeout(resolve, fault.ms ?? 100));
      case 'flood':
        flood(fault.bytes ?? 1024 * 1024);
        return;
      case undefined:
      default:
        return;
    }
  }
}

function checked(value: unknown): Fault {
  const fault = value as Fault;
  const known =
    typeof value === 'object' && value !== null && Object.keys(value).every((member) => MEMBERS.has(member));
  if (!known || typeof fault.at !== 'string' || !ACTIONS.includes(fault.do)) {
    throw new Error(`FAKE_FIRECRACKER_FAULT: no fault as faults.ts describes them: ${JSON.stringify(value)}`);
  }
  return fault;
}

/** The number of this hit among all processes, from 1; over `most`: `most` + 1. */
function hitOverProcesses(marker: string, most: number): number {
  for (let number = 1; number <= most; number++) {
    try {
      closeSync(openSync(`${marker}.${number}`, 'wx'));
      return number;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  return most + 1;
}

/** Blocks while nobody reads, as a VMM does that writes its console. */
function flood(bytes: number): void {
  const line = Buffer.from(`${'flood '.repeat(20)}\n`);
  for (let left = bytes; left > 0;) {
    try {
      left -= writeSync(1, line, 0, Math.min(left, line.length));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
