/** Runs in the live page. The colour of a function, beside its name. */
import type { JSX } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';
import { hues } from './hues.ts';

export function Dot({ name }: { readonly name: string }): JSX.Element {
  const hue = useMemo(() => hues.take(name), [name]);
  useEffect(() => () => hues.release(name), [name]);
  return <i class="dot" aria-hidden="true" style={{ '--hue': String(hue) }} />;
}
