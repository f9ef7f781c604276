/** Runs in the live page. The functions, a page of them at a time, in the order that is asked for. */
import type { JSX } from 'preact';
import { useEffect, useMemo, useReducer, useState } from 'preact/hooks';
import type { ActivityRow, FunctionRow } from '../protocol/live-state.ts';
import { Dot } from './dot.tsx';
import { count, mib, ms, perSecond } from './format.ts';
import { nextSort, orderedNames, sortOf, vmsByFunction, type SortKey } from './function-order.ts';
import { painter } from './painter.ts';
import { functionLink, replaceQuery, useRoute } from './route.ts';
import { useTables } from './store.ts';

const PAGE_ROWS = 25;
/** Over which activity is told, in s. */
const ACTIVITY_S = 60;
/** Rows that jump with each request cannot be read: the order is that of the last look, in ms. */
const ORDER_MS = 2000;

const COLUMNS: readonly (readonly [key: SortKey, title: string, isNumber: boolean])[] = [
  ['name', 'Name', false],
  ['state', 'State', false],
  ['rate', 'Requests/s', true],
  ['errors', 'Errors', true],
  ['p50', 'p50', true],
  ['p99', 'p99', true],
  ['vms', 'VMs', true],
  ['memory', 'Memory', true],
  ['versions', 'Versions', true],
  ['snapshot', 'Snapshot', false],
  ['events', 'Events', true],
];

export function Functions(): JSX.Element {
  const state = useTables('functions', 'activity', 'pending', 'vms');
  const { query } = useRoute();
  const sort = sortOf(query);
  const search = query.get('search') ?? '';
  const [page, setPage] = useState(0);
  const look = useLook();
  const names = useMemo(() => orderedNames(state, search, sort), [query, look, state.functions.size]);
  const pages = Math.max(1, Math.ceil(names.length / PAGE_ROWS));
  const shown = Math.min(page, pages - 1);
  const rows = names.slice(shown * PAGE_ROWS, (shown + 1) * PAGE_ROWS);
  const vms = vmsByFunction(state);
  const sortBy = (key: SortKey): void => {
    const next = nextSort(sort, key);
    replaceQuery({ sort: next?.key ?? '', order: next === null ? '' : next.isDescending ? 'descending' : 'ascending' });
    setPage(0);
  };
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
              replaceQuery({ search: currentTarget.value });
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
                {COLUMNS.map(([key, title, isNumber]) => (
                  <th
                    key={key}
                    scope="col"
                    class={isNumber ? 'number' : ''}
                    aria-sort={sort?.key !== key ? 'none' : sort.isDescending ? 'descending' : 'ascending'}
                  >
                    <button type="button" class="sort" onClick={() => sortBy(key)}>
                      {title}
                    </button>
                  </th>
                ))}
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

/** Another number from time to time. */
function useLook(): number {
  const [look, next] = useReducer((before: number) => before + 1, 0);
  useEffect(() => {
    const draw = (): void => next(undefined);
    const timer = setInterval(() => {
      if (!document.hidden) painter.request(draw);
    }, ORDER_MS);
    return () => {
      clearInterval(timer);
      painter.forget(draw);
    };
  }, []);
  return look;
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
  const errors = activity === undefined ? null : (activity.errors / Math.max(1, activity.requests)) * 100;
  return (
    <tr>
      <th scope="row">
        <Dot name={name} />
        <a href={functionLink(name)}>{name}</a>
      </th>
      <td class="state-cell">
        <State state={state} deploying={deploying} />
      </td>
      <Cell name="Requests/s" value={activity && perSecond(activity.requests / ACTIVITY_S)} />
      <Cell
        name="Errors"
        value={errors === null ? undefined : `${perSecond(errors)} %`}
        kind={errors === 0 ? '' : 'bad'}
      />
      <Cell name="p50" value={activity && ms(activity.p50Ms)} />
      <Cell name="p99" value={activity && ms(activity.p99Ms)} />
      <Cell name="VMs" value={vms === 0 ? undefined : count(vms)} />
      <Cell name="Memory" value={mib(memory)} kind="quiet" />
      <Cell name="Versions" value={versions === 0 ? undefined : count(versions)} kind="quiet" />
      <Cell name="Snapshot" value={snapshot ?? undefined} kind="quiet text" />
      <Cell name="Events" value={pending === 0 ? undefined : count(pending)} />
    </tr>
  );
}

interface CellProps {
  /** Said beside the value where there are no columns. */
  readonly name: string;
  readonly value: string | undefined;
  readonly kind?: string;
}

function Cell({ name, value, kind = '' }: CellProps): JSX.Element {
  const side = kind.includes('text') ? '' : 'number ';
  return (
    <td class={value === undefined ? `${side}absent` : `${side}${kind}`} data-name={name}>
      {value ?? '–'}
    </td>
  );
}

export function State({ state, deploying }: Pick<FunctionRow, 'state' | 'deploying'>): JSX.Element {
  const text = deploying ? (state === 'Active' ? 'updating' : 'deploying') : state.toLowerCase();
  return <span class={`state ${deploying ? 'deploying' : state.toLowerCase()}`}>{text}</span>;
}
