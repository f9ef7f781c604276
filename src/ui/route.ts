/** Runs in the live page. Which view the address names: `#/` all, `#/functions/NAME` one function. */
import { useEffect, useState } from 'preact/hooks';

export interface Route {
  /** Null: the overview. */
  readonly functionName: string | null;
}

export function functionLink(name: string): string {
  return `#/functions/${encodeURIComponent(name)}`;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(current);
  useEffect(() => {
    const onChange = (): void => setRoute(current());
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  return route;
}

function current(): Route {
  const [, name] = /^#\/functions\/([^/]+)$/.exec(location.hash) ?? [];
  if (name === undefined) return { functionName: null };
  try {
    return { functionName: decodeURIComponent(name) };
  } catch {
    return { functionName: name };
  }
}
