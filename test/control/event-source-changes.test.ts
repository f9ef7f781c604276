import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unqualified } from '../../src/control/changes.ts';
import {
  eventSourceAdded,
  eventSourceChanged,
  eventSourceRemoved,
  eventSourcesOf,
} from '../../src/control/event-source-changes.ts';
import { MAX_EVENT_SOURCES, MAX_EVENT_SOURCES_OF_FUNCTION } from '../../src/registry/event-source-limits.ts';
import { FunctionRegistry } from '../../src/registry/function-registry.ts';
import { functionSchema } from '../../src/registry/record-schema.ts';
import type { EventSourceRecord, FunctionRecord } from '../../src/registry/records.ts';
import { eventSource, functionRecord, versionRecord } from '../registry/records.ts';

const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:f';
const LATER = '2026-05-02T00:00:00.000Z';
const { tenantIsolation, ...shared } = versionRecord().settings;
const EMPTY = functionRecord('f', { latest: versionRecord({ settings: shared }), wanted: null });

function add(record: FunctionRecord, id: string, keys: Partial<EventSourceRecord> = {}, count = 0): FunctionRecord {
  return eventSourceAdded(record, id, eventSource(keys), ARN, count);
}

test('event sources of a record: kept by UUID, as a disk takes them, changed and removed', () => {
  const record = add(add(EMPTY, 'b', { stream: 'B', qualifier: 'live' }), 'a', { subject: 'a.>' });
  assert.deepEqual(functionSchema.parse(JSON.parse(JSON.stringify(record))), record);
  assert.deepEqual(
    eventSourcesOf(record).map(({ id, function: name, stream }) => [id, name, stream]),
    [
      ['a', 'f', 'ORDERS'],
      ['b', 'f', 'B'],
    ],
  );
  const changed = eventSourceChanged(record, 'a', { isEnabled: false }, LATER);
  assert.deepEqual(changed.eventSources?.['a'], eventSource({ subject: 'a.>', isEnabled: false, modified: LATER }));
  assert.deepEqual(Object.keys(eventSourceRemoved(changed, 'a').eventSources ?? {}), ['b']);
  // An alias takes with it what was kept for it.
  assert.deepEqual(Object.keys(unqualified(record, 'live').eventSources ?? {}), ['a']);
  for (const work of [
    eventSourceRemoved,
    (one: FunctionRecord, id: string) => eventSourceChanged(one, id, {}, LATER),
  ]) {
    assert.throws(() => work(record, 'constructor'), { code: 'not_found' });
  }
});

test('event sources that are refused: the same messages twice, too many, none such, and tenants', () => {
  const record = add(EMPTY, 'a');
  assert.throws(() => add(record, 'b'), { code: 'conflict', message: /mapping with UUID a$/ });
  assert.doesNotThrow(() => add(record, 'b', { subject: 'x' }));
  assert.throws(() => add(EMPTY, 'a', { qualifier: 'nobody' }), { code: 'not_found' });
  assert.throws(() => add(EMPTY, 'a', {}, MAX_EVENT_SOURCES), { code: 'invalid' });
  let full = EMPTY;
  for (let at = 0; at < MAX_EVENT_SOURCES_OF_FUNCTION; at += 1) full = add(full, `u${at}`, { stream: `S${at}` });
  assert.throws(() => add(full, 'one more', { stream: 'S' }), { code: 'invalid', message: /10 event sources at most/ });
  const ofTenants = functionRecord('f', { latest: versionRecord(), wanted: null });
  assert.equal(tenantIsolation, 'PER_TENANT');
  assert.throws(() => add(ofTenants, 'a'), { code: 'invalid', message: /tenant/ });
});

test('registry: event sources are found by UUID, counted, and told of when they change or go', () => {
  const registry = new FunctionRegistry();
  const told: string[] = [];
  registry.listen({
    onEventSources: (name) => told.push(`${name} ${registry.get(name)?.eventSources.length ?? 'gone'}`),
  });
  registry.configure('f', { eventSources: eventSourcesOf(add(add(EMPTY, 'a'), 'b', { stream: 'B' })) });
  assert.equal(registry.eventSource('b')?.stream, 'B');
  registry.configure('f', { eventSources: eventSourcesOf(add(EMPTY, 'a')) });
  assert.deepEqual([registry.eventSourceCount, registry.eventSource('b')], [1, undefined]);
  registry.remove('f');
  assert.deepEqual([registry.eventSourceCount, told], [0, ['f 2', 'f 1', 'f gone']]);
});
