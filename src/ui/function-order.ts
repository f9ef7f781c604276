/** Runs in the live page. In which order functions are listed: by a column, or those with requests first. */
import type { LiveState } from '../protocol/live-state.ts';

export const SORT_KEYS = [
  'name',
  'state',
  'rate',
  'errors',
  'p50',
  'p99',
  'vms',
  'memory',
  'versions',
  'snapshot',
  'events',
] as const;
export type SortKey = (typeof SORT_KEYS)[number];

/** Null: those with requests first, then by name. */
export interface FunctionSort {
  readonly key: SortKey;
  readonly isDescending: boolean;
}

/** Texts begin with the first, numbers with the highest. */
export function beginsDescending(key: SortKey): boolean {
  return key !== 'name' && key !== 'state' && key !== 'snapshot';
}

/** What a click on a column's heading leads to: one way, the other way, and as it was. */
export function nextSort(sort: FunctionSort | null, key: SortKey): FunctionSort | null {
  const first = beginsDescending(key);
  if (sort?.key !== key) return { key, isDescending: first };
  return sort.isDescending === first ? { key, isDescending: !first } : null;
}

/** As the address has it. */
export function sortOf(query: URLSearchParams): FunctionSort | null {
  const key = SORT_KEYS.find((one) => one === query.get('sort'));
  if (key === undefined) return null;
  const order = query.get('order');
  return { key, isDescending: order === null ? beginsDescending(key) : order === 'descending' };
}

type Value = number | string | null;

/** Names of functions that have `search` in their name, in order. Those without a value in the column come last. */
export function orderedNames(state: LiveState, search: string, sort: FunctionSort | null): readonly string[] {
  const wanted = search.trim().toLowerCase();
  const names = [...state.functions.keys()].filter((name) => name.toLowerCase().includes(wanted));
  const byName = (a: string, b: string): number => (a < b ? -1 : 1);
  names.sort(byName);
  if (sort === null) {
    return [...names.filter((name) => state.activity.has(name)), ...names.filter((name) => !state.activity.has(name))];
  }
  if (sort.key === 'name') return sort.isDescending ? names.reverse() : names;
  const valueOf = valuesOf(state, sort.key);
  const known: { readonly name: string; readonly value: number | string }[] = [];
  const unknown: string[] = [];
  for (const name of names) {
    const value = valueOf(name);
    if (value === null) unknown.push(name);
    else known.push({ name, value });
  }
  const sign = sort.isDescending ? -1 : 1;
  known.sort((a, b) => (a.value === b.value ? byName(a.name, b.name) : a.value < b.value ? -sign : sign));
  return [...known.map(({ name }) => name), ...unknown];
}

function valuesOf(state: LiveState, key: Exclude<SortKey, 'name'>): (name: string) => Value {
  const { functions, activity, pending } = state;
  switch (key) {
    case 'state':
      return (name) => functions.get(name)?.state ?? null;
    case 'rate':
      return (name) => activity.get(name)?.requests ?? null;
    case 'errors':
      return (name) => {
        const row = activity.get(name);
        return row === undefined ? null : row.errors / Math.max(1, row.requests);
      };
    case 'p50':
      return (name) => activity.get(name)?.p50Ms ?? null;
    case 'p99':
      return (name) => activity.get(name)?.p99Ms ?? null;
    case 'vms': {
      const counts = vmsByFunction(state);
      return (name) => counts.get(name) ?? null;
    }
    case 'memory':
      return (name) => functions.get(name)?.mib ?? null;
    case 'versions':
      return (name) => functions.get(name)?.versions ?? null;
    case 'snapshot':
      return (name) => functions.get(name)?.snapshot ?? null;
    case 'events':
      return (name) => pending.get(name) ?? null;
  }
}

/** Functions without a VM are left out. */
export function vmsByFunction({ vms }: LiveState): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { function: name } of vms.values()) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
