/** docs/protocol.md against the types: its tables and examples have the very keys and numbers of the code. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeFrame } from '../../src/protocol/frame.ts';
import { FrameType, GUEST_PROTOCOL_VERSION } from '../../src/protocol/guest.ts';
import type { LaunchSpec, RunnerCommand, RunnerEvent } from '../../src/protocol/runner.ts';

const PAGE = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'protocol.md'), 'utf8');

const spec: LaunchSpec = {
  machine: {
    memoryMib: 128,
    vcpus: 1,
    kernelPath: '',
    initrdPath: '',
    rootfsPath: '',
    appfsPath: '',
    kernelArgs: '',
    runtime: 'python3',
    network: false,
  },
  function: { name: '', version: '$LATEST', handler: null, environment: {}, arn: '' },
  bootTimeoutMs: 60_000,
  snapshots: { kind: 'store', directory: '' },
};

/** One of each kind; the compiler asks for those that are missing. */
const COMMANDS: { readonly [Op in RunnerCommand['op']]: Extract<RunnerCommand, { op: Op }> } = {
  launch: { op: 'launch', vm: 'vm-1', spec },
  kill: { op: 'kill', vm: 'vm-1' },
  pause: { op: 'pause', vm: 'vm-1', hasServed: true },
  resume: { op: 'resume', vm: 'vm-1' },
  ping: { op: 'ping' },
  prepare: { op: 'prepare', snapshot: '', spec },
  forget: { op: 'forget', snapshot: '' },
  'remove-layers': { op: 'remove-layers', directory: '', maxBytes: 1, maxAgeMs: 1 },
};

const failure = { kind: 'vmm', message: '', console: [] } as const;
const EVENTS: { readonly [Name in RunnerEvent['event']]: Extract<RunnerEvent, { event: Name }> } = {
  serving: { event: 'serving', vmm: 'process', reason: '', notice: null, canPause: false, canRestore: false },
  pong: { event: 'pong' },
  resumed: { event: 'resumed', vm: '' },
  launching: { event: 'launching', vm: '' },
  channel: { event: 'channel', vm: '', guestAddress: { socketPath: '', vsockPort: null } },
  ready: {
    event: 'ready',
    vm: '',
    timings: { kind: 'cold', spawnMs: 1, bootMs: 1, loadMs: 1, resumeMs: 1 },
    fallback: null,
    pid: 1,
  },
  failed: { event: 'failed', vm: '', failure },
  log: { event: 'log', vm: '', request: 1, stream: 'stdout', text: '' },
  'log-end': { event: 'log-end', vm: '', request: 1 },
  'runtime-exited': { event: 'runtime-exited', vm: '', reason: '', exit: { signal: 9, begun: 1 } },
  exited: { event: 'exited', vm: '', reason: '' },
  preparing: { event: 'preparing', snapshot: '', text: '' },
  'preparation-log': { event: 'preparation-log', snapshot: '', request: 0, stream: 'stdout', text: '' },
  prepared: { event: 'prepared', snapshot: '', layer: '', builtMs: null },
  unprepared: { event: 'unprepared', snapshot: '', failure, retryInMs: 1000 },
  'layers-removed': { event: 'layers-removed', names: [], more: false, problem: null },
};

/** The names of a value's members, and of theirs; what the page leaves out as `…` matches anything. */
function shapeOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const members = Object.entries(value).map(([key, member]) => [key, shapeOf(member)] as const);
  return Object.fromEntries(members.sort(([left], [right]) => (left < right ? -1 : 1)));
}

/** The JSON objects with the key `key` in the page's examples; those on several lines included. */
function examples(key: 'op' | 'event'): readonly Record<string, unknown>[] {
  const found: Record<string, unknown>[] = [];
  for (const { index } of PAGE.matchAll(new RegExp(`^(?:[◀▶] )?(?=\\{"${key}":)`, 'gm'))) {
    const start = PAGE.indexOf('{', index);
    let depth = 0;
    let end = start;
    do {
      if (PAGE[end] === '{') depth++;
      if (PAGE[end] === '}') depth--;
      end++;
    } while (depth > 0);
    const text = PAGE.slice(start, end).replaceAll('{…}', '"…"').replaceAll(':…', ':"…"');
    found.push(JSON.parse(text) as Record<string, unknown>);
  }
  return found;
}

function assertShape(example: Record<string, unknown>, typed: object): void {
  const members = Object.entries(typed).filter(([key]) => example[key] !== '…');
  const shown = Object.entries(example).filter(([, value]) => value !== '…');
  assert.deepEqual(shapeOf(Object.fromEntries(shown)), shapeOf(Object.fromEntries(members)), JSON.stringify(example));
  assert.deepEqual(Object.keys(example).sort(), Object.keys(typed).sort());
}

test('protocol.md: an example of each command, with its members', () => {
  const shown = examples('op');
  assert.deepEqual([...new Set(shown.map(({ op }) => op))].sort(), Object.keys(COMMANDS).sort());
  for (const example of shown) assertShape(example, COMMANDS[example['op'] as keyof typeof COMMANDS]);
});

test('protocol.md: the table of events has each event and its members', () => {
  const rows = [...PAGE.matchAll(/^\| `([a-z-]+)` +\| (?:`([\w, ]+)`)? +\|/gm)];
  const table = new Map(
    rows.map(([, name = '', keys = '']) => [
      name,
      keys
        .split(', ')
        .filter((key) => key !== '')
        .sort(),
    ]),
  );
  for (const [name, event] of Object.entries(EVENTS)) {
    const keys = Object.keys(event).filter((key) => key !== 'event');
    assert.deepEqual(table.get(name), keys.sort(), name);
  }
});

test('protocol.md: the events of its examples have the members of the types', () => {
  const shown = examples('event');
  assert.ok(shown.length > 0);
  for (const example of shown) assertShape(example, EVENTS[example['event'] as keyof typeof EVENTS]);
});

test('protocol.md: the table of messages has the number of each frame type', () => {
  const rows = [...PAGE.matchAll(/^\| `([A-Z_]+)` +\| (\d+) +\|/gm)];
  const table = Object.fromEntries(rows.map(([, name = '', number]) => [name, Number(number)]));
  const names = Object.entries(FrameType).map(([name, number]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase(),
    number,
  ]);
  assert.deepEqual(table, Object.fromEntries(names));
  assert.match(PAGE, new RegExp(`\`protocol\` is ${GUEST_PROTOCOL_VERSION} `));
});

test('protocol.md: the frames that it shows byte by byte are those that are sent', () => {
  const invoke = encodeFrame(FrameType.invoke, { id: 'r1', deadline_ms: 1_700_000_000_000 }, Buffer.from('{"n":1}'));
  const hex = (bytes: Buffer): string => bytes.toString('hex').replace(/..(?!$)/g, '$& ');
  assert.ok(PAGE.includes(`, ${invoke.length} bytes:`));
  for (const [start, end] of [
    [0, 4],
    [4, 5],
    [5, 7],
    [7, 11],
    [46, 50],
  ] as const) {
    assert.ok(PAGE.includes(` ${hex(invoke.subarray(start, end))} `), hex(invoke.subarray(start, end)));
  }
  assert.ok(PAGE.includes(`\`${hex(encodeFrame(FrameType.drained, undefined))}\``));
});
