/** Runs in snapctr. Functions of the YAML files that would have more than is left of what all functions share, with those of the API. */
import { MAX_EVENT_SOURCES } from '../registry/event-source-limits.ts';
import type { FunctionRegistry } from '../registry/function-registry.ts';
import { MAX_SCHEDULES } from '../registry/schedule-limits.ts';
import type { Config } from './config/config.ts';

/**
 * @param isOurs whether a function is that of a file; the others have what they have.
 * @returns what is wrong and what to change, by name. The first ones of the file have what there is.
 */
export function overLimits(
  { functions, schedules, eventSources }: Pick<Config, 'functions' | 'schedules' | 'eventSources'>,
  registry: FunctionRegistry,
  isOurs: (name: string) => boolean,
): ReadonlyMap<string, string> {
  const ours = [...functions.keys()].filter(isOurs);
  const had = (key: 'schedules' | 'eventSources'): number =>
    ours.reduce((sum, name) => sum + (registry.get(name)?.[key].length ?? 0), 0);
  let schedulesLeft = MAX_SCHEDULES - registry.scheduleCount + had('schedules');
  let eventSourcesLeft = MAX_EVENT_SOURCES - registry.eventSourceCount + had('eventSources');
  const over = new Map<string, string>();
  for (const name of ours) {
    const [timed, sourced] = [schedules.get(name)?.length ?? 0, eventSources.get(name)?.length ?? 0];
    if (timed > Math.max(0, schedulesLeft)) over.set(name, problem('schedules', MAX_SCHEDULES));
    else if (sourced > Math.max(0, eventSourcesLeft)) over.set(name, problem('event sources', MAX_EVENT_SOURCES));
    else {
      schedulesLeft -= timed;
      eventSourcesLeft -= sourced;
    }
  }
  return over;
}

function problem(what: string, most: number): string {
  return `its ${what} would be more than ${most}, with those that were made over the API; remove some`;
}
