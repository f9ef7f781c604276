/**
 * Runs in the live page. What the address names: `#/` all, `#/functions/NAME` one function; behind a `?` how it is looked at, such as
 * `#/?sort=errors`, so that it is the same after a reload and for whoever gets the address.
 */
import { useLayoutEffect, useState } from 'preact/hooks';

export interface Route {
  /** Null: the overview. */
  readonly functionName: string | null;
  readonly query: URLSearchParams;
}

/** Told when the address is replaced: the browser says nothing of that. */
const listeners = new Set<() => void>();

export function functionLink(name: string): string {
  return `#/functions/${encodeURIComponent(name)}`;
}

/** Its function's page, at the VM. */
export function vmLink(name: string, id: string): string {
  return `${functionLink(name)}?vm=${encodeURIComponent(id)}`;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(current);
  useLayoutEffect(() => {
    const onChange = (): void => setRoute(current());
    addEventListener('hashchange', onChange);
    listeners.add(onChange);
    return () => {
      removeEventListener('hashchange', onChange);
      listeners.delete(onChange);
    };
  }, []);
  return route;
}

/** Has the address say how it is looked at, without a step to go back to. Empty values are left out. */
export function replaceQuery(members: Readonly<Record<string, string>>): void {
  const [path = '', text = ''] = location.hash.split('?');
  const query = new URLSearchParams(text);
  for (const [name, value] of Object.entries(members)) {
    if (value === '') query.delete(name);
    else query.set(name, value);
  }
  const rest = query.size === 0 ? '' : `?${query.toString()}`;
  history.replaceState(null, '', `${path === '' ? '#/' : path}${rest}`);
  for (const tell of listeners) tell();
}

function current(): Route {
  const [path = '', text = ''] = location.hash.split('?');
  const query = new URLSearchParams(text);
  const [, name] = /^#\/functions\/([^/]+)$/.exec(path) ?? [];
  if (name === undefined) return { functionName: null, query };
  try {
    return { functionName: decodeURIComponent(name), query };
  } catch {
    return { functionName: name, query };
  }
}
