/**
 * What happened while the process waited in a blocking read: sockets that their peers closed, children that ended, timers that
 * came due. The event loop turns for it before the next handler runs, as it does in Lambda, so that the handler is not handed
 * a dead connection.
 */
import { performance } from 'node:perf_hooks';
import { replaceMethod, type Call } from './replaced.cjs';
import { inNextTurn } from './originals.cjs';

/** An event may have consequences in the next turn: a socket's end is followed by its shutdown, and that by its 'close'. */
const QUIET_TURNS = 2;
/** Whoever has events in each turn does not keep the handler waiting for ever. */
const MOST_TURNS = 16;

/** Modules whose handles may be alive without being seen among the active resources, which are those that keep a process up. */
const HOLDERS = ['net', 'dgram', 'child_process', 'timers/promises'].map((name) => `NativeModule ${name}`);

/** Not in Node's documentation, nor its types: the built-in modules that were loaded. */
const { moduleLoadList } = process as unknown as { readonly moduleLoadList?: readonly string[] };

// A function may replace it.
const resources = process.getActiveResourcesInfo.bind(process);

export class IdleEvents {
  /** Something was made that may be alive unseen, now and ever after. */
  #hasHolders = moduleLoadList === undefined;
  #modulesSeen = 0;

  constructor() {
    const noting = (original: Call, receiver: unknown, args: readonly unknown[]): unknown => {
      this.noteHolder();
      return original(receiver, args);
    };
    replaceMethod(timeoutPrototype(), 'unref', noting);
    // Addons have handles of their own.
    replaceMethod(process, 'dlopen', noting);
  }

  noteHolder(): void {
    this.#hasHolders = true;
  }

  /** Whether anything can have happened. Costs a fraction of a turn of the event loop. */
  arePossible(): boolean {
    if (!this.#hasHolders && moduleLoadList !== undefined && moduleLoadList.length !== this.#modulesSeen) {
      this.#modulesSeen = moduleLoadList.length;
      this.#hasHolders = HOLDERS.some((name) => moduleLoadList.includes(name));
    }
    return this.#hasHolders || resources().length > 0;
  }

  /** Calls `next` when the event loop has dealt with what happened. */
  settle(next: () => void): void {
    let turns = 0;
    let quiet = 0;
    let events = eventsSoFar();
    const turn = (): void => {
      const now = eventsSoFar();
      quiet = now === events ? quiet + 1 : 0;
      events = now;
      turns += 1;
      if (quiet >= QUIET_TURNS || turns >= MOST_TURNS) next();
      else inNextTurn(turn);
    };
    inNextTurn(turn);
  }
}

/** Events of descriptors that the event loop has dealt with. */
function eventsSoFar(): number {
  return (performance.nodeTiming as unknown as { readonly uvMetricsInfo: { readonly events: number } }).uvMetricsInfo
    .events;
}

function timeoutPrototype(): object {
  const timer = setTimeout(() => undefined, 1);
  clearTimeout(timer);
  return Object.getPrototypeOf(timer) as object;
}
