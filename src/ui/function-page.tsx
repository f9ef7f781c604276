/** Runs in the live page. One function. */
import type { JSX } from 'preact';

export function FunctionPage({ name }: { readonly name: string }): JSX.Element {
  return <h1>{name}</h1>;
}
