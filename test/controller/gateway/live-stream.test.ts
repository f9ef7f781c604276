import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PartialOutput } from '../../../src/controller/gateway/dialect.ts';
import { LiveStream, type LiveSource } from '../../../src/controller/gateway/ui/live-stream.ts';
import { LiveTable } from '../../../src/controller/gateway/ui/live-table.ts';
import {
  applyPatch,
  emptyState,
  StreamReader,
  type LivePatch,
  type LiveState,
  type TableName,
} from '../../../src/protocol/live-state.ts';

/** A reader that takes messages until it is told not to. */
class TestReader implements PartialOutput {
  onDrain: () => void = () => undefined;
  isGone = false;
  isSlow = false;
  readonly parts: Buffer[] = [];
  readonly events: string[] = [];
  state: LiveState = emptyState();
  readonly #stream = new StreamReader();

  write(_headers: readonly string[], part: Buffer): boolean {
    this.parts.push(part);
    for (const { event, data } of this.#stream.push(part.toString())) {
      this.events.push(event);
      if (event === 'full') this.state = emptyState();
      applyPatch(this.state, JSON.parse(data) as LivePatch);
    }
    return !this.isSlow;
  }
}

class TestSource implements LiveSource {
  isOpen = false;
  updates = 0;
  readonly rows = new Map<string, unknown>();

  begin(table: LiveTable): void {
    this.isOpen = true;
    this.update(table);
  }

  update(table: LiveTable): void {
    this.updates += 1;
    for (const key of [...table.keys('vmStates')]) if (!this.rows.has(key)) table.delete('vmStates', key);
    for (const [key, row] of this.rows) table.set('vmStates', key, row);
  }

  end(): void {
    this.isOpen = false;
  }

  view(): null {
    return null;
  }
}

test('live stream: all rows once, then what has changed; nothing is done while nobody reads', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const source = new TestSource();
  const stream = new LiveStream(source, []);
  source.rows.set('vm-1', 'busy');
  const reader = new TestReader();
  void stream.read(reader);
  assert.deepEqual([...reader.state.vmStates], [['vm-1', 'busy']]);
  t.mock.timers.tick(300);
  assert.deepEqual(reader.events, ['full']);
  source.rows.set('vm-2', 'idle').delete('vm-1');
  t.mock.timers.tick(100);
  assert.deepEqual(reader.events, ['full', 'patch']);
  assert.deepEqual([...reader.state.vmStates], [['vm-2', 'idle']]);
  t.mock.timers.tick(15_000);
  assert.equal(reader.parts.at(-1)?.toString(), ':\n\n');
  reader.isGone = true;
  reader.onDrain();
  assert.equal(stream.readers, 0);
  assert.equal(source.isOpen, false);
  const { updates } = source;
  t.mock.timers.tick(10_000);
  assert.equal(source.updates, updates);
});

test('live stream: a slow reader has one message on its way, and then gets what it missed, or all anew', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const source = new TestSource();
  const stream = new LiveStream(source, []);
  const reader = new TestReader();
  reader.isSlow = true;
  void stream.read(reader);
  const others = new TestReader();
  void stream.read(others);
  for (let i = 0; i < 5; i += 1) {
    source.rows.set('vm-1', `state ${i}`);
    t.mock.timers.tick(100);
  }
  assert.equal(reader.parts.length, 1);
  reader.isSlow = false;
  reader.onDrain();
  assert.deepEqual(reader.events, ['full', 'patch', 'patch', 'patch', 'patch', 'patch']);
  assert.deepEqual(reader.state, others.state);
  reader.isSlow = true;
  for (let i = 0; i < 40; i += 1) {
    source.rows.set('vm-1', `${i} ${'x'.repeat(4000)}`);
    t.mock.timers.tick(100);
  }
  reader.isSlow = false;
  reader.onDrain();
  assert.equal(reader.events.filter((event) => event === 'full').length, 2);
  assert.ok(reader.events.length < 40);
  assert.deepEqual(reader.state, others.state);
  stream.close();
  assert.equal(reader.events.at(-1), 'end');
});

test('live stream: whoever comes is told what there is, not what was before it came', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const source = new TestSource();
  const stream = new LiveStream(source, []);
  const first = new TestReader();
  void stream.read(first);
  for (const state of ['launching', 'busy', 'idle']) {
    source.rows.set('vm-1', state);
    t.mock.timers.tick(100);
  }
  t.mock.timers.tick(2000);
  const second = new TestReader();
  void stream.read(second);
  assert.deepEqual(second.events, ['full']);
  assert.deepEqual([...second.state.vmStates], [['vm-1', 'idle']]);
  source.rows.delete('vm-1');
  t.mock.timers.tick(100);
  assert.deepEqual(second.events, ['full', 'patch']);
  assert.deepEqual([first.events.length, first.state], [5, second.state]);
  // Those who come at once have the rows written once.
  const third = new TestReader();
  void stream.read(third);
  assert.deepEqual([third.events, third.state], [['full', 'patch'], second.state]);
  assert.equal(third.parts[0], second.parts[0]);
  stream.close();
});

test('live stream: a thousand readers get the same bytes, made once; the 1,025th is refused', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const source = new TestSource();
  for (let i = 0; i < 1000; i += 1) source.rows.set(`vm-${i}`, 'idle');
  const stream = new LiveStream(source, []);
  const readers = Array.from({ length: 1024 }, () => new TestReader());
  for (const reader of readers) void stream.read(reader);
  const { updates } = source;
  for (let i = 0; i < 10; i += 1) {
    source.rows.set(`vm-${i}`, 'busy');
    t.mock.timers.tick(100);
  }
  assert.equal(source.updates, updates + 10);
  const [first] = readers;
  for (const reader of readers) {
    assert.equal(reader.parts.length, 11);
    for (const [at, part] of reader.parts.entries()) assert.equal(part, first?.parts[at]);
  }
  assert.ok((first?.parts[1]?.length ?? 0) < 100, 'a change of one VM among a thousand');
  await assert.rejects(stream.read(new TestReader()), { code: 'queue_full' });
  stream.close();
  assert.equal(stream.readers, 0);
});

test('live table: changes applied one after the other are the same as all rows', () => {
  const tables: readonly TableName[] = ['vms', 'vmStates', 'functions', 'pending', 'banners'];
  const key = fc.oneof(fc.constantFrom('a', '__proto__', 'constructor', 'vm-1'), fc.string());
  const change = fc.record({
    table: fc.constantFrom(...tables),
    key,
    row: fc.option(fc.jsonValue(), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(fc.array(change)), (batches) => {
      const table = new LiveTable();
      const patched = emptyState();
      for (const batch of batches) {
        for (const { table: name, key: of, row } of batch) {
          if (row === undefined || row === null) table.delete(name, of);
          else table.set(name, of, row);
        }
        const patch = table.takePatch();
        if (patch !== null) applyPatch(patched, JSON.parse(patch) as LivePatch);
      }
      const full = emptyState();
      applyPatch(full, JSON.parse(table.full()) as LivePatch);
      assert.deepEqual(patched, full);
      assert.equal(table.takePatch(), null);
    }),
  );
});

test('event streams are read whatever the pieces they come in', () => {
  const text = 'event: full\ndata: {"a":1}\n\n:\n\nevent: patch\ndata: {}\n\n';
  for (let size = 1; size < text.length; size += 1) {
    const reader = new StreamReader();
    const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, at) =>
      text.slice(at * size, (at + 1) * size),
    );
    assert.deepEqual(
      pieces.flatMap((piece) => reader.push(piece)),
      [
        { event: 'full', data: '{"a":1}' },
        { event: 'patch', data: '{}' },
      ],
    );
  }
});
