/** Runs in the live page. Invokes a function with a test event, which this browser keeps for the next time. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { KnownInvocation } from '../client/invocations-client.ts';
import { invocationsOf, invoke, type InvokeAnswer } from './api.ts';
import { messageOf } from './server.ts';
import { ms } from './format.ts';
import { Why } from './invocations.tsx';
import { shown } from './output.tsx';

const MOST_SHOWN = 20_000;

interface Done extends InvokeAnswer {
  readonly tookMs: number;
}

export function InvokeForm({ name, isGone }: { readonly name: string; readonly isGone: boolean }): JSX.Element {
  const key = `snapfaas-event ${name}`;
  const [event, setEvent] = useState(() => localStorage.getItem(key) ?? '{}');
  const [isRunning, setRunning] = useState(false);
  const [done, setDone] = useState<Done | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const run = async (): Promise<void> => {
    const wrong = problemOfJson(event);
    setProblem(wrong);
    if (wrong !== null) return;
    localStorage.setItem(key, event);
    setRunning(true);
    setDone(null);
    const begun = performance.now();
    try {
      const answer = await invoke(name, event, stop.current.signal);
      setDone({ ...answer, tookMs: performance.now() - begun });
    } catch (error) {
      if (!stop.current.signal.aborted) setProblem(messageOf(error));
    }
    setRunning(false);
  };
  return (
    <section class="card" aria-labelledby="test">
      <header>
        <h2 id="test">Test</h2>
      </header>
      <form
        class="invoke"
        onSubmit={(submitted) => {
          submitted.preventDefault();
          void run();
        }}
      >
        <label>
          Event (JSON)
          <textarea
            class="code"
            rows={6}
            spellcheck={false}
            value={event}
            onInput={({ currentTarget }) => setEvent(currentTarget.value)}
          />
        </label>
        <button type="submit" disabled={isRunning || isGone}>
          {isRunning ? 'Running …' : 'Invoke'}
        </button>
      </form>
      <div role="status" class="answer">
        {problem !== null && <p class="problem">{problem}</p>}
        {done !== null && <Answer name={name} done={done} />}
      </div>
    </section>
  );
}

function Answer({ name, done }: { readonly name: string; readonly done: Done }): JSX.Element {
  const [invocation, setInvocation] = useState<KnownInvocation | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    invocationsOf(name, stop.signal).then(
      (found) => setInvocation(found.find(({ requestId }) => requestId === done.requestId) ?? null),
      () => undefined,
    );
    return () => stop.abort();
  }, [done]);
  const report = done.log.split('\n').find((line) => line.startsWith('REPORT ')) ?? null;
  return (
    <>
      <p>
        <b class={done.isError ? 'bad' : 'good'}>{done.isError ? 'The function failed' : 'Answered'}</b> after{' '}
        {ms(done.tookMs)}
      </p>
      <pre tabIndex={0} aria-label="Answer">
        {shown(done.text.slice(0, MOST_SHOWN))}
      </pre>
      {invocation !== null && <Why invocation={invocation} />}
      {report !== null && <pre class="report quiet">{report.replaceAll('\t', '\n')}</pre>}
    </>
  );
}

function problemOfJson(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return `The event is no JSON: ${messageOf(error)}`;
  }
}
