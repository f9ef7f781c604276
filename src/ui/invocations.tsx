/** Runs in the live page. The last invocations of a function, each with why it took so long. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { explain } from '../client/explain.ts';
import type { KnownInvocation } from '../client/invocations-client.ts';
import { invocationsOf } from './api.ts';
import { clock, ms } from './format.ts';

/** Between two questions, in ms: of many requests a second, the last ones are shown. */
const PAUSE_MS = 150;
/** The others are shown when they are asked for. */
const SHOWN = 8;

/** @param seen another number when there are others. */
export function Invocations({ name, seen }: { readonly name: string; readonly seen: number }): JSX.Element {
  const [invocations, setInvocations] = useState<readonly KnownInvocation[]>([]);
  const [isWhole, setWhole] = useState(false);
  useAsked(seen, async (signal) => setInvocations(await invocationsOf(name, signal)));
  return (
    <section class="card" aria-labelledby="invocations">
      <header>
        <h2 id="invocations">Invocations</h2>
        <p class="quiet">the last ones; open one for why it took so long</p>
      </header>
      {invocations.length === 0 ? (
        <p class="quiet empty">There was none yet.</p>
      ) : (
        <ul class="invocations">
          {invocations.slice(0, isWhole ? undefined : SHOWN).map((one) => (
            <li key={`${one.requestId} ${one.eventTry ?? ''}`}>
              <Invocation invocation={one} />
            </li>
          ))}
        </ul>
      )}
      {invocations.length > SHOWN && (
        <button type="button" class="more" aria-expanded={isWhole} onClick={() => setWhole(!isWhole)}>
          {isWhole ? 'Show fewer' : `Show ${invocations.length - SHOWN} more`}
        </button>
      )}
    </section>
  );
}

function Invocation({ invocation }: { readonly invocation: KnownInvocation }): JSX.Element {
  const { requestId, submittedAt, endedAt, outcome, start } = invocation;
  return (
    <details data-request={requestId}>
      <summary>
        <span class="quiet">{clock(endedAt)}</span>
        <b>{ms(endedAt - submittedAt)}</b>
        <span>{start ?? 'no VM'}</span>
        <span class={outcome === 'ok' ? 'quiet' : 'bad'}>{outcome}</span>
        <code class="quiet">{requestId}</code>
      </summary>
      <Why invocation={invocation} />
    </details>
  );
}

export function Why({ invocation }: { readonly invocation: KnownInvocation }): JSX.Element {
  return (
    <ul class="why">
      {explain(invocation, Date.now())
        .slice(1)
        .map((line) => (
          <li key={line}>{line}</li>
        ))}
    </ul>
  );
}

/** Asks at once, and again when `seen` is another; one question at a time. */
export function useAsked(seen: number, ask: (signal: AbortSignal) => Promise<void>): void {
  const asked = useRef({ isAsking: false, isDue: false, stop: new AbortController(), ask });
  asked.current.ask = ask;
  useEffect(() => {
    const now = asked.current;
    const again = (): void => {
      if (now.isAsking) {
        now.isDue = true;
        return;
      }
      now.isAsking = true;
      now.isDue = false;
      void now
        .ask(now.stop.signal)
        .catch(() => undefined)
        .then(() => new Promise((resolve) => setTimeout(resolve, PAUSE_MS)))
        .then(() => {
          now.isAsking = false;
          if (now.isDue && !now.stop.signal.aborted) again();
        });
    };
    again();
  }, [seen]);
  useEffect(() => () => asked.current.stop.abort(), []);
}
