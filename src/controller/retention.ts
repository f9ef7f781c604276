/**
 * Runs in snapctr. Keeps the disk from filling up with what was deployed once: tells other processes of this host which images its
 * functions need, and has the builder and firerunner remove what nobody does. They look, and remove, some at a time:
 *
 * ```
 *   a version is retired ──soon──▶ look ◀──every hour── age
 *                                   ▲ └──▶ removed some, and there is more
 *                                   └───────────────┘
 * ```
 */
import { basename, dirname, join } from 'node:path';
import type { FunctionRegistry } from '../registry/function-registry.ts';
import type { FunctionVersion } from '../registry/function-version.ts';
import { cacheDirectory } from '../storage/cache-directory.ts';
import { GRACE_MS, type RetentionLimits } from '../storage/retention.ts';
import { Uses } from '../storage/uses.ts';

export interface RetentionTimes {
  /** Between two looks at the latest. */
  readonly everyMs: number;
  /** From a change to the look that comes of it: nothing that was needed just now is removed sooner. */
  readonly afterChangeMs: number;
}

export const RETENTION_TIMES: RetentionTimes = { everyMs: 3_600_000, afterChangeMs: GRACE_MS + 60_000 };

export interface RetentionOptions {
  readonly registry: Pick<FunctionRegistry, 'listen' | 'versions'>;
  readonly limits: RetentionLimits;
  /** Each removes some of what is unused. @returns whether there is more. */
  readonly removals: readonly ((limits: RetentionLimits) => Promise<boolean>)[];
  readonly times?: RetentionTimes;
}

export class Retention {
  readonly #options: RetentionOptions;
  readonly #times: RetentionTimes;
  readonly #apps = join(cacheDirectory(), 'apps');
  readonly #uses = new Uses(this.#apps);
  readonly #held = new Map<FunctionVersion, string>();
  #timer: NodeJS.Timeout | null = null;
  #dueAt = Infinity;
  #isClosed = false;

  constructor(options: RetentionOptions) {
    this.#options = options;
    this.#times = options.times ?? RETENTION_TIMES;
    for (const version of options.registry.versions()) this.#hold(version);
    options.registry.listen({
      onPublished: (version) => this.#hold(version),
      onRetired: (version) => this.#release(version),
    });
    this.#lookIn(this.#times.afterChangeMs);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#uses.close();
  }

  #hold(version: FunctionVersion): void {
    const { appfs } = version;
    if (appfs === null || this.#held.has(version)) return;
    const folder = dirname(appfs.path);
    // Others are the user's own files.
    if (dirname(folder) !== this.#apps) return;
    const name = basename(folder);
    this.#held.set(version, name);
    this.#uses.hold(name);
  }

  #release(version: FunctionVersion): void {
    const name = this.#held.get(version);
    this.#held.delete(version);
    if (name !== undefined) this.#uses.release(name);
    this.#lookIn(this.#times.afterChangeMs);
  }

  /** Sooner counts: while versions come and go without end there is still a look now and then. */
  #lookIn(ms: number): void {
    const dueAt = performance.now() + ms;
    if (this.#isClosed || dueAt >= this.#dueAt) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = setTimeout(() => void this.#look(), ms).unref();
  }

  async #look(): Promise<void> {
    this.#dueAt = Infinity;
    this.#lookIn(this.#times.everyMs);
    const { removals, limits } = this.#options;
    await this.#uses.settled();
    await this.#uses.renew();
    for (const remove of removals) while (!this.#isClosed && (await remove(limits)));
  }
}
