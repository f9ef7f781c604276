/** `snapctr top`: the state of a controller as lines of text. */
import { styleText } from 'node:util';
import { START_BUCKETS, START_KINDS, type LiveState, type VmStateName } from '../protocol/live-state.ts';
import { printable } from './printable.ts';

export interface TopSize {
  readonly columns: number;
  readonly rows: number;
  readonly color: boolean;
}

type Color = 'green' | 'cyan' | 'yellow' | 'red' | 'gray' | 'bold' | 'inverse';
type Paint = (color: Color, text: string) => string;

const STATES: readonly (readonly [VmStateName, string, Color])[] = [
  ['busy', '█', 'green'],
  ['idle', '▒', 'cyan'],
  ['kept', '▓', 'cyan'],
  ['ahead', '▒', 'cyan'],
  ['launching', '░', 'yellow'],
  ['evicted', 'x', 'red'],
  ['ended', 'x', 'gray'],
];
const HEADINGS = ['FUNCTION', 'STATE', 'REQ/S', 'ERR %', 'P50', 'P99', 'VMS', 'EVENTS'] as const;
const NUMBER_COLUMNS = 8;
const STATE_COLUMNS = 11;
const NAME_COLUMNS = 12;
const ACTIVITY_S = 60;

/** As many lines as there are rows at most, none wider than the terminal. */
export function drawTop(state: LiveState, { columns, rows, color }: TopSize): readonly string[] {
  const paint: Paint = (name, text) => (color ? styleText(name, text, { validateStream: false }) : text);
  const fit = (text: string): string => (text.length > columns ? `${text.slice(0, Math.max(0, columns - 1))}…` : text);
  const { memory, queue, workers, counters, events, functions, about } = state.host;
  const lines = [
    paint('bold', fit(`snapctr  ${about?.vmm ?? 'starting'}  ${state.host.state ?? ''}`)),
    ...[...state.banners.values()].map(({ level, text }) =>
      paint(level === 'error' ? 'red' : 'yellow', fit(`! ${printable(text)}`)),
    ),
    fit(
      `Memory   ${memory?.reserved ?? 0} of ${memory?.total ?? 0} MiB, ${memory?.idle ?? 0} idle, ${state.vms.size} VM${state.vms.size === 1 ? '' : 's'}`,
    ),
    bar(state, Math.max(1, columns), paint),
    fit(
      `Queue    ${queue?.length ?? 0} of ${queue?.capacity ?? 0}   Workers ${workers?.busy ?? 0} of ${workers?.total ?? 0}` +
        `   Launches ${counters?.launches ?? 0}   Evictions ${counters?.evictions ?? 0}   Events ${events?.pending ?? 0}`,
    ),
    fit(`Starts   ${startsOf(state)} (5 min)`),
    fit(`Functions ${functions?.total ?? 0}, ${functions?.deploying ?? 0} deploying`),
    '',
  ];
  const shape = shapeFor(columns);
  lines.push(paint('inverse', fit(row(HEADINGS, shape).padEnd(columns))));
  const room = Math.max(0, rows - lines.length);
  for (const name of busiest(state, room)) lines.push(fit(row(cellsOf(state, name), shape)));
  return lines.slice(0, rows);
}

/** What `--json` prints: names of functions as they are. */
export function topAsJson(state: LiveState): object {
  const tables = Object.entries(state).map(([name, table]: readonly [string, object]): readonly [string, unknown] => [
    name,
    table instanceof Map ? Object.fromEntries(table as ReadonlyMap<string, unknown>) : table,
  ]);
  return Object.fromEntries(tables);
}

/** Of all memory; a VM has one character at least. */
function bar(state: LiveState, columns: number, paint: Paint): string {
  const total = Math.max(1, state.host.memory?.total ?? 1);
  let used = 0;
  let text = '';
  for (const [name, sign, color] of STATES) {
    let mib = 0;
    for (const [id, vm] of state.vms) if (state.vmStates.get(id) === name) mib += vm.mib;
    if (mib === 0) continue;
    const length = Math.min(columns - used, Math.max(1, Math.round((mib / total) * columns)));
    used += length;
    text += paint(color, sign.repeat(length));
  }
  return text + paint('gray', '·'.repeat(columns - used));
}

function startsOf({ starts, host }: LiveState): string {
  const oldest = (host.startBucket ?? 0) - START_BUCKETS;
  const rows = [...starts].flatMap(([at, counts]) => (Number(at) > oldest ? [counts] : []));
  return [...START_KINDS, 'failed' as const]
    .map((kind) => `${kind} ${rows.reduce((sum, counts) => sum + (counts[kind] ?? 0), 0)}`)
    .join('   ');
}

/** Those with most requests first, then those with VMs, then by name. */
function busiest({ functions, activity, vms }: LiveState, count: number): readonly string[] {
  const withVms = new Set([...vms.values()].map((vm) => vm.function));
  const rank = (name: string): number => (activity.get(name)?.requests ?? 0) * 2 + (withVms.has(name) ? 1 : 0);
  const ranks = new Map([...functions.keys()].map((name) => [name, rank(name)]));
  return [...functions.keys()]
    .sort((a, b) => (ranks.get(b) ?? 0) - (ranks.get(a) ?? 0) || (a < b ? -1 : 1))
    .slice(0, count);
}

function cellsOf({ functions, activity, pending, vms }: LiveState, name: string): readonly string[] {
  const fn = functions.get(name);
  const last = activity.get(name);
  const count = [...vms.values()].filter((vm) => vm.function === name).length;
  return [
    printable(name),
    fn?.deploying === true ? 'deploying' : (fn?.state ?? ''),
    last === undefined ? '-' : (last.requests / ACTIVITY_S).toFixed(1),
    last === undefined ? '-' : ((last.errors / last.requests) * 100).toFixed(0),
    last === undefined ? '-' : inMs(last.p50Ms),
    last === undefined ? '-' : inMs(last.p99Ms),
    String(count),
    String(pending.get(name) ?? 0),
  ];
}

function inMs(ms: number): string {
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)}s` : `${ms.toFixed(ms < 10 ? 1 : 0)}ms`;
}

interface Shape {
  readonly name: number;
  readonly state: number;
  readonly number: number;
}

/** All columns fit: those of numbers are closer together, and states shorter, where the terminal is narrow. */
function shapeFor(columns: number): Shape {
  const numbers = HEADINGS.length - 2;
  const isNarrow = columns < NAME_COLUMNS + 1 + STATE_COLUMNS + numbers * NUMBER_COLUMNS;
  const [state, number] = isNarrow ? [5, NUMBER_COLUMNS - 1] : [STATE_COLUMNS, NUMBER_COLUMNS];
  return { name: Math.max(NAME_COLUMNS, columns - 1 - state - numbers * number), state, number };
}

function row([name = '', state = '', ...numbers]: readonly string[], shape: Shape): string {
  const cut = (text: string, width: number): string =>
    text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width);
  return `${cut(name, shape.name)} ${cut(state, shape.state)}${numbers.map((text) => text.padStart(shape.number)).join('')}`;
}
