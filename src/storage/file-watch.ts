/** Runs in snapctr, and in `snapctr dev`. Tells when files or directories change. */
import { watch, type FSWatcher } from 'chokidar';
import { basename } from 'node:path';

/** Changes that come closer together than this are one: a save is often several, in ms. */
const QUIET_MS = 150;
/** However often files change, what has changed is told after this time, in ms. */
const MAX_DELAY_MS = 2000;
/** Of one file, chokidar drops what comes within 50 ms of a change that it told; some more, in ms. */
const DEAF_MS = 100;
/**
 * What is installed or made, and changes together with a file beside it that is watched. There can be a hundred thousand files in
 * it, and each takes a watch.
 */
const UNWATCHED = new Set(['node_modules', '.git', '__pycache__', '.venv']);

export interface FileWatchOptions {
  readonly onChange: () => void;
  /** What cannot be watched, in words for the user. */
  readonly onProblem: (message: string) => void;
}

export class FileWatch {
  /** Resolves when changes of the first paths that were set are noticed from then on. */
  readonly ready: Promise<void>;
  readonly #watcher: FSWatcher;
  readonly #onChange: () => void;
  #watched: ReadonlySet<string> = new Set();
  #timer: NodeJS.Timeout | null = null;
  /** When the first change came that was not told yet. */
  #since = 0;
  /** When the last change came. */
  #last = 0;

  constructor({ onChange, onProblem }: FileWatchOptions) {
    this.#onChange = onChange;
    this.#watcher = watch([], { ignoreInitial: true, ignored: (path) => UNWATCHED.has(basename(path)) });
    this.ready = new Promise((resolve) => this.#watcher.once('ready', resolve));
    this.#watcher.on('all', () => this.#changed());
    this.#watcher.on('error', (error) => onProblem(error instanceof Error ? error.message : String(error)));
  }

  /** From now on these paths and no others, whether there is something yet or not. */
  set(paths: Iterable<string>): void {
    const before = this.#watched;
    const now = new Set(paths);
    this.#watched = now;
    this.#watcher.add([...now].filter((path) => !before.has(path)));
    this.#watcher.unwatch([...before].filter((path) => !now.has(path)));
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#watcher.close();
  }

  #changed(): void {
    const now = performance.now();
    this.#last = now;
    if (this.#timer === null) this.#since = now;
    else clearTimeout(this.#timer);
    const delay = Math.max(0, Math.min(QUIET_MS, this.#since + MAX_DELAY_MS - now));
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#onChange();
      // Another change may come now and be dropped.
      if (performance.now() - this.#last < DEAF_MS) this.#changed();
    }, delay);
  }
}
