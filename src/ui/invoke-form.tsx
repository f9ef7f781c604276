/** Runs in the live page. Invokes a function with a test event, which this browser keeps for the next time. */
import type { JSX } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { KnownInvocation } from '../client/invocations-client.ts';
import { invocationsOf, invoke, type InvokeAnswer } from './api.ts';
import { messageOf } from './server.ts';
import { answerText, MOST_SHOWN } from './answer-text.ts';
import { count, ms } from './format.ts';
import { Why } from './invocations.tsx';
import { shown } from './output.tsx';

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
    keep(key, event);
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
  const { text, trace } = useMemo(() => answerText(done.text, done.isError), [done]);
  const report = done.log.split('\n').find((line) => line.startsWith('REPORT ')) ?? null;
  return (
    <>
      <p>
        <b class={done.isError ? 'bad' : 'good'}>{done.isError ? 'The function failed' : 'Answered'}</b> after{' '}
        {ms(done.tookMs)}
      </p>
      <pre tabIndex={0} aria-label="Answer">
        {visible(text)}
      </pre>
      {text.length > MOST_SHOWN && (
        <p>
          These are the first {count(MOST_SHOWN)} of {count(text.length)} characters.{' '}
          <Download name={name} text={done.text} />
        </p>
      )}
      {trace !== null && (
        <pre tabIndex={0} aria-label="Trace" class="quiet">
          {visible(trace.join('\n'))}
        </pre>
      )}
      {invocation !== null && <Why invocation={invocation} />}
      {report !== null && <pre class="report quiet">{report.replaceAll('\t', '\n')}</pre>}
    </>
  );
}

/** Its beginning, with all of each line. */
function visible(text: string): string {
  return (text.slice(0, MOST_SHOWN).match(/[^]{1,1000}/g) ?? []).map(shown).join('');
}

/** The answer as it came. */
function Download({ name, text }: { readonly name: string; readonly text: string }): JSX.Element {
  const save = (): void => {
    const url = URL.createObjectURL(new Blob([text], { type: 'application/octet-stream' }));
    const link = document.createElement('a');
    link.href = url;
    link.download = `${name}-answer.txt`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  return (
    <button type="button" onClick={save}>
      Download all of it
    </button>
  );
}

/** For the next time, if it has room: a browser keeps less than a function takes. */
function keep(key: string, event: string): void {
  try {
    localStorage.setItem(key, event);
  } catch {
    localStorage.removeItem(key);
  }
}

function problemOfJson(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return `The event is no JSON: ${messageOf(error)}`;
  }
}
