/** Runs in snapctr. The gateway of events, with what it is wired to. */
import type { DataDirectory } from '../../control/data-directory.ts';
import { LATEST, type LambdaAccount } from '../../protocol/arn.ts';
import type { FunctionRegistry, RegisteredFunction } from '../../registry/function-registry.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import type { SubmitTask } from '../gateway/gateway.ts';
import type { Logger } from '../log.ts';
import { EventDispatcher } from './dispatcher.ts';
import { eventClock } from './event-clock.ts';
import { deliver } from './destinations.ts';
import { DEFAULT_EVENT_SETTINGS, type EventSettings } from './event-settings.ts';
import { Journal } from './journal.ts';
import { MemoryEventStore } from './memory-store.ts';
import { targetOf } from './target.ts';

export interface EventsOptions {
  /** Null: events end with snapctr. */
  readonly data: Pick<DataDirectory, 'events' | 'destinations'> | null;
  readonly registry: FunctionRegistry;
  readonly submit: SubmitTask;
  /** VMs of the smallest function that the host has memory for. */
  readonly maxConcurrency: number;
  /** Requests that may wait in the channel. */
  readonly queueCapacity: number;
  readonly account: LambdaAccount;
  readonly logger: Logger;
}

/** @throws EventStoreError if the journal is of another release; NodeJS.ErrnoException */
export async function openEvents(options: EventsOptions): Promise<EventDispatcher> {
  const { data, registry, submit, maxConcurrency, queueCapacity, account, logger } = options;
  if (data === null) logger.warn('there is no data directory: events that wait end with snapctr');
  const onProblem = (message: string): void => logger.error(message);
  const store = data === null ? new MemoryEventStore() : await Journal.open(data.events, { onProblem });
  if (store.size > 0) logger.info({ events: store.size }, 'events of before are taken up');
  return new EventDispatcher({
    store,
    submit,
    settingsOf: (name, qualifier) => settingsOf(registry, name, qualifier),
    limitOf: (name) => limitOf(registry, name, maxConcurrency),
    versionOf: (name, qualifier) => versionOf(registry, name, qualifier),
    // Requests that somebody waits for find room in the channel as well.
    maxInFlight: Math.max(1, Math.floor(queueCapacity / 2)),
    deliver: (target, message, signal) => deliver(data?.destinations ?? null, target, message, signal),
    account,
    clock: eventClock(store.latestMoment),
    logger,
  });
}

function settingsOf(registry: FunctionRegistry, name: string, qualifier: string | null): EventSettings {
  const fn = registry.get(name);
  const set = fn?.eventInvoke[qualifier ?? LATEST];
  const deadLetter = fn === undefined ? null : targetOf(deadLetterOf(fn, qualifier ?? LATEST));
  if (set === undefined) return { ...DEFAULT_EVENT_SETTINGS, deadLetter };
  const { maximumRetryAttempts, maximumEventAgeS, onSuccess, onFailure } = set;
  return {
    maximumRetryAttempts: maximumRetryAttempts ?? DEFAULT_EVENT_SETTINGS.maximumRetryAttempts,
    maximumEventAgeMs: maximumEventAgeS === null ? DEFAULT_EVENT_SETTINGS.maximumEventAgeMs : maximumEventAgeS * 1000,
    onSuccess: targetOf(onSuccess),
    onFailure: targetOf(onFailure),
    deadLetter,
  };
}

/** Of the version that an alias leads to, or most of its requests. */
function deadLetterOf({ aliases, deadLetters }: RegisteredFunction, qualifier: string): string | null {
  const alias = aliases.find((one) => one.name === qualifier);
  return deadLetters[alias === undefined ? qualifier : String(alias.version)] ?? null;
}

/** Half of what the host can run at once, or all that the function may. */
function limitOf(registry: FunctionRegistry, name: string, maxConcurrency: number): number {
  return Math.max(1, batchLimitOf(registry, name, maxConcurrency));
}

/** The same; 0: it cannot be invoked. */
export function batchLimitOf(registry: FunctionRegistry, name: string, maxConcurrency: number): number {
  const fn = registry.get(name);
  const limit = fn?.concurrencyLimit ?? fn?.latest?.concurrencyLimit ?? Infinity;
  return Math.min(limit, Math.ceil(maxConcurrency / 2));
}

export function versionOf(registry: FunctionRegistry, name: string, qualifier: string | null): FunctionVersion | null {
  try {
    return registry.resolve(name, qualifier);
  } catch {
    return null;
  }
}
