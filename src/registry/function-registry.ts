/**
 * Runs in snapctr. The functions that requests can name, and what answers for each of their versions:
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
 * A version with a number goes the same way, and is there until it is removed. An alias leads to one or two of them. Whoever keeps
 * something for a version is told when it is published and when it is retired.
 */
import { LATEST } from '../protocol/arn.ts';
import { SnapfaasError } from '../protocol/errors.ts';
import type { FunctionVersion } from './function-version.ts';
import type { AliasRecord, EventInvokeRecord, EventSourceRecord, ScheduleRecord, UrlRecord } from './records.ts';

/** What is known of a version; replaced as a whole with each change. */
export interface VersionState {
  /** What answers for it; null: nothing does, yet or any more. */
  readonly latest: FunctionVersion | null;
  readonly state: 'Pending' | 'Active' | 'Failed';
  readonly lastUpdateStatus: 'InProgress' | 'Successful' | 'Failed';
  /** Why the last deployment failed and what to change, one line each. */
  readonly problems: readonly string[];
}

/** An address by which a function is invoked over plain HTTP. */
export interface FunctionUrl extends UrlRecord {
  readonly function: string;
  /** An alias; null: `$LATEST`. */
  readonly qualifier: string | null;
}

/** When a function gets an event by itself. */
export interface FunctionSchedule extends Omit<ScheduleRecord, 'since'> {
  readonly name: string;
  /** Null: it is one of the YAML files, which do not say. */
  readonly since: string | null;
}

/** A stream whose messages a function gets in batches. */
export interface FunctionEventSource extends EventSourceRecord {
  /** A UUID. */
  readonly id: string;
  readonly function: string;
}

/** What is set of a function beside its versions. */
export interface RegisteredSettings {
  readonly aliases: readonly Pick<AliasRecord, 'name' | 'version' | 'routing'>[];
  readonly urls: readonly FunctionUrl[];
  /** By name, ascending. */
  readonly schedules: readonly FunctionSchedule[];
  /** By UUID, ascending. */
  readonly eventSources: readonly FunctionEventSource[];
  /** How its events are tried, by qualifier. */
  readonly eventInvoke: Readonly<Record<string, EventInvokeRecord>>;
  /** Who gets events that failed for good, by version: as `DeadLetterConfig` has it. */
  readonly deadLetters: Readonly<Record<string, string>>;
  /** Most VMs at once, in place of what its versions say; undefined: they say it. */
  readonly concurrencyLimit?: number | null;
  /** VMs that are kept ready, by qualifier. */
  readonly provisioned: ReadonlyMap<string, number>;
}

/** What is known of a function, and of its version `$LATEST`; replaced as a whole with each change. */
export interface RegisteredFunction extends VersionState, RegisteredSettings {
  readonly name: string;
  /** By number, as text. */
  readonly published: ReadonlyMap<string, VersionState>;
}

export interface RegistryListener {
  /** Anything that `get` tells of a function has changed, or it is there no more. */
  readonly onChanged?: (name: string) => void;
  /** Requests that come from now on get this version. */
  readonly onPublished?: (version: FunctionVersion) => void;
  /** No request will get this version any more; those that have it go on. */
  readonly onRetired?: (version: FunctionVersion) => void;
  /** Requests that wait for a version of this function may wait in vain: it failed, was removed, or an alias leads elsewhere. */
  readonly onUnavailable?: (name: string) => void;
  /** Another number of its VMs may run at once. */
  readonly onLimited?: (name: string, limit: number | null) => void;
  /** Other VMs of it are to be kept ready, or what its qualifiers lead to has changed. */
  readonly onProvisioned?: (name: string) => void;
  /** It has other schedules, or is gone with all of them. */
  readonly onScheduled?: (name: string) => void;
  /** It has other event sources, or is gone with all of them. */
  readonly onEventSources?: (name: string) => void;
}

const NOTHING: VersionState = { latest: null, state: 'Pending', lastUpdateStatus: 'Successful', problems: [] };

export class FunctionRegistry {
  readonly #functions = new Map<string, RegisteredFunction>();
  readonly #urls = new Map<string, FunctionUrl>();
  readonly #eventSources = new Map<string, FunctionEventSource>();
  readonly #listeners: RegistryListener[] = [];
  readonly #random: () => number;
  #deploying = 0;
  #schedules = 0;
  /** Kept until something changes: lists are read page by page. */
  #sorted: readonly RegisteredFunction[] | null = null;

  /** @param random from 0 up to, but not, 1: which way of an alias a request takes. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Functions, whatever their state. */
  get size(): number {
    return this.#functions.size;
  }

  /** Versions that are being made ready. */
  get deployingCount(): number {
    return this.#deploying;
  }

  /** Schedules of all functions together. */
  get scheduleCount(): number {
    return this.#schedules;
  }

  /** Event sources of all functions together. */
  get eventSourceCount(): number {
    return this.#eventSources.size;
  }

  /** Tells this one of all changes from now on, after those who asked before. */
  listen(listener: RegistryListener): void {
    this.#listeners.push(listener);
  }

  get(name: string): RegisteredFunction | undefined {
    return this.#functions.get(name);
  }

  /** The URL of an id, whose function may be in any state. */
  url(id: string): FunctionUrl | undefined {
    return this.#urls.get(id);
  }

  /** The event source of a UUID, whose function may be in any state. */
  eventSource(id: string): FunctionEventSource | undefined {
    return this.#eventSources.get(id);
  }

  /** By name. */
  list(): readonly RegisteredFunction[] {
    this.#sorted ??= [...this.#functions.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sorted;
  }

  /** Versions that answer. */
  *versions(): Iterable<FunctionVersion> {
    for (const fn of this.#functions.values()) yield* versionsOf(fn);
  }

  /**
   * The version that answers for a function; null: it is not ready yet.
   *
   * @param qualifier null or `$LATEST`, a number, or an alias, which may lead elsewhere each time.
   * @throws SnapfaasError `function_not_found`, or `vm_launch_failed` for one that cannot run.
   */
  resolve(name: string, qualifier: string | null = null): FunctionVersion | null {
    const fn = this.#functions.get(name);
    const version = fn === undefined ? undefined : this.#versionOf(fn, qualifier);
    const state = fn === undefined || version === undefined ? undefined : stateOf(fn, version);
    if (state === undefined) throw notFound(name, qualifier);
    if (state.state === 'Failed') throw cannotRun(name, state);
    return state.latest;
  }

  /** Undefined: neither number nor alias. */
  #versionOf({ aliases }: RegisteredFunction, qualifier: string | null): string | undefined {
    if (qualifier === null || qualifier === LATEST) return LATEST;
    if (/^\d+$/.test(qualifier)) return qualifier;
    const alias = aliases.find((one) => one.name === qualifier);
    if (alias === undefined) return undefined;
    const { version, routing } = alias;
    return String(routing !== null && this.#random() < routing.weight ? routing.version : version);
  }

  /** The version is being made ready. */
  deploying(name: string, version = LATEST): void {
    const { latest } = this.#stateOf(name, version);
    const state = latest === null ? 'Pending' : 'Active';
    this.#set(name, version, { latest, state, lastUpdateStatus: 'InProgress', problems: [] });
  }

  /** This version answers from now on; the one before is retired. */
  publish(version: FunctionVersion): void {
    const { name } = version;
    const before = this.#stateOf(name, version.version).latest;
    const active = { latest: version, state: 'Active', lastUpdateStatus: 'Successful', problems: [] } as const;
    this.#set(name, version.version, active);
    if (before === version) return;
    for (const { onPublished } of this.#listeners) onPublished?.(version);
    this.#provisioned(name);
    if (before !== null) this.#retire(before);
  }

  /** Nothing has changed: the version that answers is as good as the one that was asked for. */
  keep(name: string, version = LATEST): void {
    const state = this.#stateOf(name, version);
    if (state.latest !== null) this.#set(name, version, { ...state, lastUpdateStatus: 'Successful', problems: [] });
  }

  /** The deployment came to nothing; a version that answers goes on doing so. */
  fail(name: string, problems: readonly string[], version = LATEST): void {
    const { latest } = this.#stateOf(name, version);
    const state = latest === null ? 'Failed' : 'Active';
    this.#set(name, version, { latest, state, lastUpdateStatus: 'Failed', problems });
    if (latest === null) this.#unavailable(name);
    this.#provisioned(name);
  }

  /** Requests for it are refused from now on. */
  remove(name: string): void {
    const fn = this.#functions.get(name);
    if (fn === undefined) return;
    this.#functions.delete(name);
    this.#changed(fn, undefined);
    this.#provisioned(name);
    for (const version of versionsOf(fn)) this.#retire(version);
    this.#unavailable(name);
    if (fn.schedules.length > 0) this.#scheduled(name);
    if (fn.eventSources.length > 0) this.#sourced(name);
  }

  /** Requests for a version with a number are refused from now on. */
  removeVersion(name: string, version: string): void {
    const fn = this.#functions.get(name);
    const state = fn?.published.get(version);
    if (fn === undefined || state === undefined) return;
    const published = new Map(fn.published);
    published.delete(version);
    this.#replace({ ...fn, published });
    this.#provisioned(name);
    if (state.latest !== null) this.#retire(state.latest);
    this.#unavailable(name);
  }

  /** What is given holds from now on, the rest as before; a function that is not there yet is pending from now on. */
  configure(name: string, settings: Partial<RegisteredSettings>): void {
    this.#replace({ ...this.#entryOf(name), ...settings });
    const { aliases, concurrencyLimit, provisioned, schedules, eventSources } = settings;
    if (aliases !== undefined) this.#unavailable(name);
    if (aliases !== undefined || provisioned !== undefined) this.#provisioned(name);
    if (concurrencyLimit !== undefined)
      for (const { onLimited } of this.#listeners) onLimited?.(name, concurrencyLimit);
    if (schedules !== undefined) this.#scheduled(name);
    if (eventSources !== undefined) this.#sourced(name);
  }

  #entryOf(name: string): RegisteredFunction {
    const known = this.#functions.get(name);
    if (known !== undefined) return known;
    const none = {
      published: new Map(),
      aliases: [],
      provisioned: new Map(),
      urls: [],
      schedules: [],
      eventSources: [],
      eventInvoke: {},
      deadLetters: {},
    };
    return { ...NOTHING, name, ...none };
  }

  #stateOf(name: string, version: string): VersionState {
    const fn = this.#functions.get(name);
    return (fn === undefined ? undefined : stateOf(fn, version)) ?? NOTHING;
  }

  #set(name: string, version: string, state: VersionState): void {
    const fn = this.#entryOf(name);
    if (version === LATEST) this.#replace({ ...fn, ...state });
    else this.#replace({ ...fn, published: new Map(fn.published).set(version, Object.freeze(state)) });
  }

  #replace(fn: RegisteredFunction): void {
    const before = this.#functions.get(fn.name);
    this.#functions.set(fn.name, Object.freeze(fn));
    this.#changed(before, fn);
  }

  #changed(before: RegisteredFunction | undefined, after: RegisteredFunction | undefined): void {
    // A list shows what it was made of: one that has changed is another.
    this.#sorted = null;
    if (before?.urls !== after?.urls) {
      for (const { id } of before?.urls ?? []) this.#urls.delete(id);
      for (const url of after?.urls ?? []) this.#urls.set(url.id, url);
    }
    if (before?.eventSources !== after?.eventSources) {
      for (const { id } of before?.eventSources ?? []) this.#eventSources.delete(id);
      for (const source of after?.eventSources ?? []) this.#eventSources.set(source.id, source);
    }
    this.#deploying +=
      (after === undefined ? 0 : deployingOf(after)) - (before === undefined ? 0 : deployingOf(before));
    this.#schedules += (after?.schedules.length ?? 0) - (before?.schedules.length ?? 0);
    const name = after?.name ?? before?.name;
    if (name !== undefined) for (const { onChanged } of this.#listeners) onChanged?.(name);
  }

  #retire(version: FunctionVersion): void {
    for (const { onRetired } of this.#listeners) onRetired?.(version);
  }

  #provisioned(name: string): void {
    for (const { onProvisioned } of this.#listeners) onProvisioned?.(name);
  }

  #scheduled(name: string): void {
    for (const { onScheduled } of this.#listeners) onScheduled?.(name);
  }

  #sourced(name: string): void {
    for (const { onEventSources } of this.#listeners) onEventSources?.(name);
  }

  #unavailable(name: string): void {
    for (const { onUnavailable } of this.#listeners) onUnavailable?.(name);
  }
}

function stateOf(fn: RegisteredFunction, version: string): VersionState | undefined {
  return version === LATEST ? fn : fn.published.get(version);
}

function* versionsOf({ latest, published }: RegisteredFunction): Iterable<FunctionVersion> {
  if (latest !== null) yield latest;
  for (const state of published.values()) if (state.latest !== null) yield state.latest;
}

function deployingOf(fn: RegisteredFunction): number {
  let deploying = fn.lastUpdateStatus === 'InProgress' ? 1 : 0;
  for (const { lastUpdateStatus } of fn.published.values()) if (lastUpdateStatus === 'InProgress') deploying += 1;
  return deploying;
}

function notFound(name: string, qualifier: string | null): SnapfaasError {
  const of = qualifier === null ? '' : ` with a version or alias ${JSON.stringify(qualifier)}`;
  return new SnapfaasError('function_not_found', `there is no function ${JSON.stringify(name)}${of}`);
}

function cannotRun(name: string, { problems }: VersionState): SnapfaasError {
  const message = `function ${JSON.stringify(name)} cannot run: ${problems.join('; ')}`;
  return new SnapfaasError('vm_launch_failed', message, { details: { function: name } });
}
