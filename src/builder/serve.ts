/**
 * Runs in the builder. The front door for snapctr: builds come in as JSON lines on stdin, what becomes of them leaves as JSON
 * lines on stdout (`protocol/builder.ts`). How many there are at once, and in which order, is snapctr's choice.
 */
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { MAX_BUILDER_LINE_BYTES, type BuilderCommand, type BuilderEvent } from '../protocol/builder.ts';
import { removeUnusedApps } from '../images/app-retention.ts';
import { messageOf } from '../protocol/errors.ts';
import { obeyUntilSilent } from '../protocol/served.ts';
import { cacheDirectory } from '../storage/cache-directory.ts';
import type { RetentionLimits } from '../storage/retention.ts';
import { build, failureCode } from './build.ts';

/** Longest text of an event, in characters; programs may print more when they fail. */
const MAX_TEXT = 16 * 1024;

/**
 * Serves until stdin ends; then all builds are called off, and the promise resolves when they have ended.
 *
 * @param patienceMs how long they may take to end.
 * @returns whether all have ended.
 */
export async function serve(
  streams: { readonly stdin: Readable; readonly stdout: Writable },
  patienceMs: number,
): Promise<boolean> {
  const builds = new Builds((event) => void streams.stdout.write(`${JSON.stringify(event)}\n`));
  // Without a reader there is nobody to tell; the end of stdin follows.
  streams.stdout.on('error', () => undefined);
  builds.announce();
  const served = { name: 'builder', ends: 'all builds are called off', maxLineBytes: MAX_BUILDER_LINE_BYTES };
  await obeyUntilSilent(served, streams.stdin, (command) => builds.obey(command as BuilderCommand));
  return builds.close(patienceMs);
}

class Builds {
  readonly #emit: (event: BuilderEvent) => void;
  /** By id: calls it off. */
  readonly #running = new Map<string, AbortController>();
  readonly #ends = new Set<Promise<void>>();
  #removals = 0;

  constructor(emit: (event: BuilderEvent) => void) {
    this.#emit = emit;
  }

  announce(): void {
    this.#emit({ event: 'serving' });
  }

  obey(command: BuilderCommand): void {
    switch (command.op) {
      case 'build': {
        const end = this.#build(command).finally(() => this.#ends.delete(end));
        return void this.#ends.add(end);
      }
      case 'cancel':
        return this.#running.get(command.id)?.abort(new Error('the build was called off'));
      case 'remove-unused': {
        const end = this.#removeUnused(command).finally(() => this.#ends.delete(end));
        return void this.#ends.add(end);
      }
      case 'ping':
        return this.#emit({ event: 'pong' });
    }
  }

  async close(patienceMs: number): Promise<boolean> {
    for (const running of this.#running.values()) running.abort(new Error('the builder ends'));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), patienceMs)));
    const haveEnded = await Promise.race([Promise.all(this.#ends).then(() => true), late]);
    clearTimeout(timer);
    return haveEnded;
  }

  async #removeUnused(limits: RetentionLimits): Promise<void> {
    const running = new AbortController();
    const id = `removal ${(this.#removals += 1)}`;
    this.#running.set(id, running);
    try {
      const { removed, more } = await removeUnusedApps(join(cacheDirectory(), 'apps'), limits, running.signal);
      this.#emit({ event: 'removed', names: removed, more, problem: null });
    } catch (error) {
      this.#emit({ event: 'removed', names: [], more: false, problem: cut(messageOf(error)) });
    } finally {
      this.#running.delete(id);
    }
  }

  async #build({ id, ...request }: Extract<BuilderCommand, { op: 'build' }>): Promise<void> {
    const running = new AbortController();
    this.#running.set(id, running);
    const observer = {
      onProgress: (text: string): void => this.#emit({ event: 'progress', id, text: cut(text) }),
      onNote: (text: string): void => this.#emit({ event: 'note', id, text: cut(text) }),
    };
    try {
      this.#emit({ event: 'built', id, ...(await build(request, observer, running.signal)) });
    } catch (error) {
      this.#emit({ event: 'failed', id, code: failureCode(error), message: cut(messageOf(error)) });
    } finally {
      this.#running.delete(id);
    }
  }
}

/** The end of a program's output says why it failed. */
function cut(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT / 2)} … ${text.slice(-MAX_TEXT / 2)}`;
}
