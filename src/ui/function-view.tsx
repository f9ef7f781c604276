/** Runs in the live page. What is asked for of one function again and again while it is looked at: its starts, and its versions. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { FunctionView } from '../protocol/live-state.ts';
import { viewOf } from './api.ts';
import { State } from './functions.tsx';
import { useAsked } from './invocations.tsx';
import { StartsOf } from './starts.tsx';

/** The chart moves on although nothing happens, in ms. */
const LOOK_MS = 2000;

/** Null: it is not known yet. @param seen another number when there is news. @param isThere nobody asks for one that was deleted. */
export function useFunctionView(name: string, seen: number, isThere: boolean): FunctionView | null {
  const [view, setView] = useState<FunctionView | null>(null);
  const [look, setLook] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setLook((before) => before + 1);
    }, LOOK_MS);
    return () => clearInterval(timer);
  }, []);
  useAsked(seen + look + Number(isThere), async (signal) => {
    if (isThere) setView(await viewOf(name, signal));
  });
  return view;
}

export function FunctionStartsOf({ view }: { readonly view: FunctionView | null }): JSX.Element | null {
  if (view === null) return null;
  const { starts, phases, startBucket } = view;
  return (
    <StartsOf starts={new Map(Object.entries(starts))} phases={new Map(Object.entries(phases))} last={startBucket} />
  );
}

export function Versions({ view }: { readonly view: FunctionView | null }): JSX.Element | null {
  if (view === null) return null;
  return (
    <section class="card" aria-labelledby="versions">
      <header>
        <h2 id="versions">Versions</h2>
      </header>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of versions">
        <table class="versions">
          <thead>
            <tr>
              <th scope="col">Version</th>
              <th scope="col">State</th>
              <th scope="col">Snapshot</th>
            </tr>
          </thead>
          <tbody>
            {view.versions.map(({ version, state, deploying, snapshot }) => (
              <tr key={version}>
                <th scope="row">{version}</th>
                <td>
                  <State state={state} deploying={deploying} />
                </td>
                <td>{snapshot ?? 'not used'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
