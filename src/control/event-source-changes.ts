/** Runs in snapctr. What the operations on event source mappings make of a function's record. */
import { MAX_EVENT_SOURCES, MAX_EVENT_SOURCES_OF_FUNCTION } from '../registry/event-source-limits.ts';
import type { FunctionEventSource } from '../registry/function-registry.ts';
import { newest, type EventSourceRecord, type FunctionRecord } from '../registry/records.ts';
import { checkQualifier } from './alias-changes.ts';
import { without } from './changes.ts';
import { ControlError } from './control-error.ts';

/**
 * @param count of all functions together, before.
 * @throws ControlError `not_found` if there is no such version or alias, `conflict` if it gets these messages already, `invalid` if
 * there are too many, or requests have tenants.
 */
export function eventSourceAdded(
  record: FunctionRecord,
  id: string,
  source: EventSourceRecord,
  arn: string,
  count: number,
): FunctionRecord {
  checkQualifier(record, source.qualifier, arn);
  if (newest(record).settings.tenantIsolation !== undefined) {
    throw new ControlError('invalid', 'A function with tenant isolation has no event sources: they name no tenant.');
  }
  const { eventSources = {} } = record;
  for (const [known, { stream, subject, qualifier }] of Object.entries(eventSources)) {
    if (stream !== source.stream || subject !== source.subject || qualifier !== source.qualifier) continue;
    const of = `with the stream ${stream} and function ${arn}`;
    const advice = `Please update or delete the existing mapping with UUID ${known}`;
    throw new ControlError('conflict', `An event source mapping ${of} already exists. ${advice}`);
  }
  if (Object.keys(eventSources).length >= MAX_EVENT_SOURCES_OF_FUNCTION) {
    throw new ControlError('invalid', `A function has ${MAX_EVENT_SOURCES_OF_FUNCTION} event sources at most.`);
  }
  if (count >= MAX_EVENT_SOURCES) {
    throw new ControlError(
      'invalid',
      `There are ${count} event sources, of ${MAX_EVENT_SOURCES} at most; remove some.`,
    );
  }
  return { ...record, eventSources: { ...eventSources, [id]: source } };
}

/** @throws ControlError `not_found` */
export function eventSourceChanged(
  record: FunctionRecord,
  id: string,
  change: Partial<EventSourceRecord>,
  modified: string,
): FunctionRecord {
  const { eventSources = {} } = record;
  const source = Object.hasOwn(eventSources, id) ? eventSources[id] : undefined;
  if (source === undefined) throw noEventSource();
  return { ...record, eventSources: { ...eventSources, [id]: { ...source, ...change, modified } } };
}

/** @throws ControlError `not_found` */
export function eventSourceRemoved(record: FunctionRecord, id: string): FunctionRecord {
  const { eventSources = {} } = record;
  if (!Object.hasOwn(eventSources, id)) throw noEventSource();
  return { ...record, eventSources: without(eventSources, id) };
}

/** By UUID, ascending. */
export function eventSourcesOf({ name, eventSources = {} }: FunctionRecord): readonly FunctionEventSource[] {
  return Object.entries(eventSources)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, source]) => ({ id, function: name, ...source }));
}

export function noEventSource(): ControlError {
  return new ControlError('not_found', 'The resource you requested does not exist.');
}
