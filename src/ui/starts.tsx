/** Runs in the live page. How requests found their VMs over the last minutes, and where the time of starts went. */
import type { JSX } from 'preact';
import { START_BUCKETS, START_KINDS, type PhaseRow, type StartRow } from '../protocol/live-state.ts';
import { count, ms, plural } from './format.ts';
import { useTables } from './store.ts';

const NAMES = { cold: 'cold', restored: 'restored', ahead: 'launched ahead', warm: 'warm', failed: 'failed' } as const;
/** From the bottom of the chart up. */
const STACK = ['warm', 'ahead', 'restored', 'cold', 'failed'] as const;
const PHASES = [
  ['queueMs', 'queue'],
  ['spawnMs', 'spawn'],
  ['bootMs', 'boot'],
  ['loadMs', 'load'],
  ['resumeMs', 'resume'],
  ['firstResponseMs', 'first response'],
] as const satisfies readonly (readonly [keyof PhaseRow, string])[];

const HEIGHT = 120;
const PARTS_HEIGHT = 60;

/** Of all functions. */
export function Starts(): JSX.Element {
  const { starts, phases, host } = useTables('starts', 'phases', 'host');
  return <StartsOf starts={starts} phases={phases} last={host.startBucket ?? 0} />;
}

interface StartsProps {
  readonly starts: ReadonlyMap<string, StartRow>;
  readonly phases: ReadonlyMap<string, PhaseRow>;
  /** The bucket that is counted now. */
  readonly last: number;
}

export function StartsOf({ starts, phases, last }: StartsProps): JSX.Element {
  const rows = Array.from(
    { length: START_BUCKETS },
    (_, at): StartRow => starts.get(String(last - START_BUCKETS + 1 + at)) ?? {},
  );
  const totals = STACK.map((kind) => rows.reduce((sum, row) => sum + (row[kind] ?? 0), 0));
  const most = Math.max(1, ...rows.map((row) => STACK.reduce((sum, kind) => sum + (row[kind] ?? 0), 0)));
  const summary = STACK.map((kind, at) => `${count(totals[at] ?? 0)} ${NAMES[kind]}`).join(', ');
  return (
    <section class="card" aria-labelledby="starts">
      <header>
        <h2 id="starts">Starts</h2>
        <p class="quiet">requests of the last 5 minutes, by how their VM was found</p>
      </header>
      <svg
        class="starts"
        viewBox={`0 0 ${START_BUCKETS * 10} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Requests of the last 5 minutes: ${summary}`}
      >
        {rows.map((row, at) => (
          <Column key={last - START_BUCKETS + 1 + at} row={row} x={at * 10} scale={HEIGHT / most} />
        ))}
      </svg>
      <p class="axis quiet" aria-hidden="true">
        <span>5 min ago</span>
        <span>highest: {plural(most, 'request')} in 5 s</span>
        <span>now</span>
      </p>
      <ul class="legend" aria-label="Requests by start">
        {STACK.map((kind, at) => (
          <li key={kind}>
            <i class={`swatch ${kind}`} aria-hidden="true" /> {NAMES[kind]} <b>{count(totals[at] ?? 0)}</b>
          </li>
        ))}
      </ul>
      <PartsOverTime rows={rows} last={last} />
      <Phases phases={phases} />
    </section>
  );
}

/** What launches took, and where that went, as the starts above them. */
function PartsOverTime({
  rows,
  last,
}: {
  readonly rows: readonly StartRow[];
  readonly last: number;
}): JSX.Element | null {
  const longest = Math.max(...rows.map(({ parts }) => (parts === undefined ? 0 : totalOf(parts))));
  if (longest === 0) return null;
  const scale = PARTS_HEIGHT / longest;
  return (
    <>
      <svg
        class="starts parts-over-time"
        viewBox={`0 0 ${START_BUCKETS * 10} ${PARTS_HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Mean time of launches in each 5 s, by its parts; the longest took ${ms(longest)}`}
      >
        {rows.map(({ parts }, at) => {
          if (parts === undefined) return null;
          let y = PARTS_HEIGHT;
          return PHASES.map(([member, name]) => {
            const height = parts[member] * scale;
            y -= height;
            const key = `${last - START_BUCKETS + 1 + at} ${name}`;
            return height === 0 ? null : (
              <rect
                key={key}
                class={`part ${name.replace(' ', '-')}`}
                x={at * 10 + 1}
                y={y}
                width={8}
                height={height}
              />
            );
          });
        })}
      </svg>
      <p class="axis quiet" aria-hidden="true">
        <span>time of launches, by their parts</span>
        <span>longest: {ms(longest)}</span>
      </p>
    </>
  );
}

function Column({
  row,
  x,
  scale,
}: {
  readonly row: StartRow;
  readonly x: number;
  readonly scale: number;
}): JSX.Element {
  let y = HEIGHT;
  return (
    <>
      {STACK.map((kind) => {
        const height = (row[kind] ?? 0) * scale;
        y -= height;
        return height === 0 ? null : <rect key={kind} class={kind} x={x + 1} y={y} width={8} height={height} />;
      })}
    </>
  );
}

function Phases({ phases }: { readonly phases: ReadonlyMap<string, PhaseRow> }): JSX.Element | null {
  const kinds = START_KINDS.flatMap((kind) => {
    const row = phases.get(kind);
    return row === undefined || kind === 'warm' ? [] : [{ kind, row, total: totalOf(row) }];
  });
  if (kinds.length === 0) return null;
  const longest = Math.max(...kinds.map(({ total }) => total), 0.001);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Parts of starts">
      <table class="phases">
        <thead>
          <tr>
            <th scope="col">Start</th>
            <th scope="col" class="wide">
              Mean of the last ones
            </th>
            <th scope="col">All</th>
            {PHASES.map(([, name]) => (
              <th key={name} scope="col">
                <i class={`swatch phase ${name.replace(' ', '-')}`} aria-hidden="true" /> {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {kinds.map(({ kind, row, total }) => (
            <tr key={kind}>
              <th scope="row">{NAMES[kind]}</th>
              <td class="wide" aria-hidden="true">
                <div class="parts">
                  {PHASES.map(([member, name]) => (
                    <i
                      key={name}
                      class={`phase ${name.replace(' ', '-')}`}
                      style={{ width: `${(row[member] / longest) * 100}%` }}
                    />
                  ))}
                </div>
              </td>
              <td>{ms(total)}</td>
              {PHASES.map(([member, name]) => (
                <td key={name} class="quiet">
                  {row[member] === 0 ? '–' : ms(row[member])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function totalOf(row: PhaseRow): number {
  return PHASES.reduce((sum, [member]) => sum + row[member], 0);
}
