/** Runs in the live page. The functions, a page of them at a time: those with requests first, then by name. */
import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import type { ActivityRow, FunctionRow, LiveState } from '../protocol/live-state.ts';
import { count, hueOf, mib, ms, perSecond } from './format.ts';
import { functionLink } from './route.ts';
import { useTables } from './store.ts';

const PAGE_ROWS = 25;
/** Over which activity is told, in s. */
const ACTIVITY_S = 60;

export function Functions(): JSX.Element {
  const state = useTables('functions', 'activity', 'pending', 'vms');
  const [search, setSearch] = useState('');
  const [page, setPage] = useState(0);
  const names = useMemo(() => sortedNames(state, search), [search, sortKey(state)]);
  const pages = Math.max(1, Math.ceil(names.length / PAGE_ROWS));
  const shown = Math.min(page, pages - 1);
  const rows = names.slice(shown * PAGE_ROWS, (shown + 1) * PAGE_ROWS);
  const vms = vmsOf(state, rows);
  return (
    <section class="card" aria-labelledby="functions">
      <header>
        <h2 id="functions">Functions</h2>
        <label class="search">
          <span class="hidden">Search functions by name</span>
          <input
            type="search"
            placeholder="Search"
            value={search}
            onInput={({ currentTarget }) => {
              setSearch(currentTarget.value);
              setPage(0);
            }}
          />
        </label>
      </header>
      {names.length === 0 ? (
        <p class="quiet empty">
          {search === ''
            ? 'There are no functions yet: "snapctr deploy DIRECTORY" makes one.'
            : `No function has "${search}" in its name.`}
        </p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of functions">
          <table class="functions">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">State</th>
                <th scope="col" class="number">
                  Requests/s
                </th>
                <th scope="col" class="number">
                  Errors
                </th>
                <th scope="col" class="number">
                  p50
                </th>
                <th scope="col" class="number">
                  p99
                </th>
                <th scope="col" class="number">
                  VMs
                </th>
                <th scope="col" class="number">
                  Memory
                </th>
                <th scope="col" class="number">
                  Versions
                </th>
                <th scope="col">Snapshot</th>
                <th scope="col" class="number">
                  Events
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((name) => (
                <Row
                  key={name}
                  name={name}
                  row={state.functions.get(name)}
                  activity={state.activity.get(name)}
                  pending={state.pending.get(name) ?? 0}
                  vms={vms.get(name) ?? 0}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {pages > 1 && (
        <nav class="pages" aria-label="Pages of functions">
          <button type="button" disabled={shown === 0} onClick={() => setPage(shown - 1)}>
            Previous
          </button>
          <span>
            {count(shown * PAGE_ROWS + 1)}–{count(Math.min(names.length, (shown + 1) * PAGE_ROWS))} of{' '}
            {count(names.length)}
          </span>
          <button type="button" disabled={shown === pages - 1} onClick={() => setPage(shown + 1)}>
            Next
          </button>
        </nav>
      )}
    </section>
  );
}

interface RowProps {
  readonly name: string;
  readonly row: FunctionRow | undefined;
  readonly activity: ActivityRow | undefined;
  readonly pending: number;
  readonly vms: number;
}

function Row({ name, row, activity, pending, vms }: RowProps): JSX.Element | null {
  if (row === undefined) return null;
  const { state, deploying, mib: memory, versions, snapshot } = row;
  return (
    <tr>
      <th scope="row">
        <i class="dot" aria-hidden="true" style={{ '--hue': String(hueOf(name)) }} />
        <a href={functionLink(name)}>{name}</a>
      </th>
      <td>
        <State state={state} deploying={deploying} />
      </td>
      <td class="number">{activity === undefined ? '–' : perSecond(activity.requests / ACTIVITY_S)}</td>
      <td class={(activity?.errors ?? 0) > 0 ? 'number bad' : 'number'}>
        {activity === undefined ? '–' : `${perSecond((activity.errors / Math.max(1, activity.requests)) * 100)} %`}
      </td>
      <td class="number">{activity === undefined ? '–' : ms(activity.p50Ms)}</td>
      <td class="number">{activity === undefined ? '–' : ms(activity.p99Ms)}</td>
      <td class="number">{vms === 0 ? '–' : count(vms)}</td>
      <td class="number quiet">{mib(memory)}</td>
      <td class="number quiet">{versions === 0 ? '–' : count(versions)}</td>
      <td class="quiet">{snapshot ?? '–'}</td>
      <td class="number">{pending === 0 ? '–' : count(pending)}</td>
    </tr>
  );
}

export function State({ state, deploying }: Pick<FunctionRow, 'state' | 'deploying'>): JSX.Element {
  const text = deploying ? (state === 'Active' ? 'updating' : 'deploying') : state.toLowerCase();
  return <span class={`state ${deploying ? 'deploying' : state.toLowerCase()}`}>{text}</span>;
}

/** The order changes when functions come and go, not with each request: rows that jump cannot be read. */
function sortKey({ functions, activity }: LiveState): string {
  return `${functions.size} ${activity.size} ${[...activity.keys()].sort().join().slice(0, 2000)}`;
}

function sortedNames({ functions, activity }: LiveState, search: string): readonly string[] {
  const wanted = search.trim().toLowerCase();
  const names = [...functions.keys()].filter((name) => name.toLowerCase().includes(wanted));
  const isBusy = (name: string): number => (activity.has(name) ? 0 : 1);
  return names.sort((a, b) => isBusy(a) - isBusy(b) || (a < b ? -1 : 1));
}

function vmsOf({ vms }: LiveState, names: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map(names.map((name) => [name, 0]));
  for (const { function: name } of vms.values()) {
    const known = counts.get(name);
    if (known !== undefined) counts.set(name, known + 1);
  }
  return counts;
}
