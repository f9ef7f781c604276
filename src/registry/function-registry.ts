/**
 * Runs in snapctr. The functions that requests can name, and the version that answers for each:
 *
 * ```
 *                 ┌────────── fail ──────────▶ Failed
 *   deploying ──▶ Pending                        │ deploying
 *                 └── publish ──▶ Active ◀───────┘ publish
 *                                  │  ▲
 *                        deploying ▼  │ publish: the version before is retired;  fail: it stays
 *                          Active, update in progress
 * ```
 *
 * Whoever keeps something for a version is told when it is published and when it is retired.
 */
import { SnapfaasError } from '../protocol/errors.ts';
import type { FunctionVersion } from './function-version.ts';

/** What is known of a function; replaced as a whole with each change. */
export interface RegisteredFunction {
  readonly name: string;
  /** What answers for it; null: nothing does, yet or any more. */
  readonly latest: FunctionVersion | null;
  readonly state: 'Pending' | 'Active' | 'Failed';
  readonly lastUpdateStatus: 'InProgress' | 'Successful' | 'Failed';
  /** Why the last deployment failed and what to change, one line each. */
  readonly problems: readonly string[];
}

export interface RegistryListener {
  /** Requests that come from now on get this version. */
  readonly onPublished?: (version: FunctionVersion) => void;
  /** No request will get this version any more; those that have it go on. */
  readonly onRetired?: (version: FunctionVersion) => void;
  /** The function has no version that answers, and a deployment that failed; or it was removed. */
  readonly onUnavailable?: (name: string, error: SnapfaasError) => void;
}

export class FunctionRegistry {
  readonly #functions = new Map<string, RegisteredFunction>();
  readonly #listeners: RegistryListener[] = [];
  #deploying = 0;
  /** Kept until something changes: lists are read page by page. */
  #sorted: readonly RegisteredFunction[] | null = null;

  /** Functions, whatever their state. */
  get size(): number {
    return this.#functions.size;
  }

  /** Functions of which a version is being made ready. */
  get deployingCount(): number {
    return this.#deploying;
  }

  /** Tells this one of all changes from now on, after those who asked before. */
  listen(listener: RegistryListener): void {
    this.#listeners.push(listener);
  }

  get(name: string): RegisteredFunction | undefined {
    return this.#functions.get(name);
  }

  /** By name. */
  list(): readonly RegisteredFunction[] {
    this.#sorted ??= [...this.#functions.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sorted;
  }

  /** Versions that answer. */
  *versions(): Iterable<FunctionVersion> {
    for (const { latest } of this.#functions.values()) if (latest !== null) yield latest;
  }

  /**
   * The version that answers for a function; null: its first one is not ready yet.
   *
   * @throws SnapfaasError `function_not_found`, or `vm_launch_failed` for one that cannot run.
   */
  resolve(name: string): FunctionVersion | null {
    const fn = this.#functions.get(name);
    if (fn === undefined) throw notFound(name);
    if (fn.state === 'Failed') throw cannotRun(fn);
    return fn.latest;
  }

  /** A version of the function is being made ready. */
  deploying(name: string): void {
    const latest = this.#functions.get(name)?.latest ?? null;
    const state = latest === null ? 'Pending' : 'Active';
    this.#set({ name, latest, state, lastUpdateStatus: 'InProgress', problems: [] });
  }

  /** This version answers from now on; the one before is retired. */
  publish(version: FunctionVersion): void {
    const { name } = version;
    const before = this.#functions.get(name)?.latest ?? null;
    this.#set({ name, latest: version, state: 'Active', lastUpdateStatus: 'Successful', problems: [] });
    if (before === version) return;
    for (const { onPublished } of this.#listeners) onPublished?.(version);
    if (before !== null) this.#retire(before);
  }

  /** Nothing has changed: the version that answers is as good as the one that was asked for. */
  keep(name: string): void {
    const fn = this.#functions.get(name);
    if (fn?.latest != null) this.#set({ ...fn, lastUpdateStatus: 'Successful', problems: [] });
  }

  /** The deployment came to nothing; a version that answers goes on doing so. */
  fail(name: string, problems: readonly string[]): void {
    const latest = this.#functions.get(name)?.latest ?? null;
    const state = latest === null ? 'Failed' : 'Active';
    const failed = { name, latest, state, lastUpdateStatus: 'Failed', problems } as const;
    this.#set(failed);
    if (latest === null) this.#unavailable(name, cannotRun(failed));
  }

  /** Requests for it are refused from now on. */
  remove(name: string): void {
    const fn = this.#functions.get(name);
    if (fn === undefined) return;
    this.#functions.delete(name);
    this.#changed(fn, undefined);
    if (fn.latest !== null) this.#retire(fn.latest);
    this.#unavailable(name, notFound(name));
  }

  #set(fn: RegisteredFunction): void {
    const before = this.#functions.get(fn.name);
    this.#functions.set(fn.name, Object.freeze(fn));
    this.#changed(before, fn);
  }

  #changed(before: RegisteredFunction | undefined, after: RegisteredFunction | undefined): void {
    this.#sorted = null;
    if (before?.lastUpdateStatus === 'InProgress') this.#deploying -= 1;
    if (after?.lastUpdateStatus === 'InProgress') this.#deploying += 1;
  }

  #retire(version: FunctionVersion): void {
    for (const { onRetired } of this.#listeners) onRetired?.(version);
  }

  #unavailable(name: string, error: SnapfaasError): void {
    for (const { onUnavailable } of this.#listeners) onUnavailable?.(name, error);
  }
}

function notFound(name: string): SnapfaasError {
  return new SnapfaasError('function_not_found', `there is no function ${JSON.stringify(name)} in the configuration`);
}

function cannotRun({ name, problems }: RegisteredFunction): SnapfaasError {
  const message = `function ${JSON.stringify(name)} cannot run: ${problems.join('; ')}`;
  return new SnapfaasError('vm_launch_failed', message, { details: { function: name } });
}
