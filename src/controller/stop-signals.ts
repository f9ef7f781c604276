/**
 * Runs in snapctr. What signals ask for: SIGINT and SIGTERM to drain, and the second one to end at once; SIGHUP to read the files
 * again, or, where it says that the terminal is gone, to drain.
 */
import { closeSync, openSync } from 'node:fs';
import type { Logger } from './log.ts';

export interface StopSignalsOptions {
  readonly onReload: () => void;
  /** The second one came: whatever hangs, this process is to end soon. */
  readonly onSecond: () => void;
  /** Whether a terminal could close on this process; asked at the start and when it may have done so. */
  readonly hasTerminal?: () => boolean;
  readonly logger: Logger;
}

export class StopSignals {
  readonly first: Promise<void>;
  readonly second: Promise<void>;
  readonly #options: StopSignalsOptions;
  #resolveFirst: () => void = () => undefined;
  #resolveSecond: () => void = () => undefined;
  #count = 0;

  constructor(options: StopSignalsOptions) {
    this.#options = options;
    this.first = new Promise((resolve) => (this.#resolveFirst = resolve));
    this.second = new Promise((resolve) => (this.#resolveSecond = resolve));
    const { hasTerminal = hasControllingTerminal } = options;
    const hadTerminal = hasTerminal();
    const stop = (signal: NodeJS.Signals): void => this.#stop(signal);
    process.on('SIGINT', stop).on('SIGTERM', stop);
    process.on('SIGHUP', () => {
      // Whoever closes a terminal does not expect its programs to go on.
      if (hadTerminal && !hasTerminal()) this.#stop('SIGHUP');
      else options.onReload();
    });
  }

  #stop(signal: NodeJS.Signals): void {
    const { logger, onSecond } = this.#options;
    this.#count += 1;
    logger.info({ signal }, this.#count === 1 ? 'draining; a second signal ends at once' : 'ending at once');
    if (this.#count === 1) return this.#resolveFirst();
    onSecond();
    this.#resolveSecond();
  }
}

/** See tty(4): it can be opened by a process that has one. */
function hasControllingTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
