/** Runs in the live page, which `npm run build` makes of this file: what is around the views, and which of them is seen. */
import { render, type JSX } from 'preact';
import { useEffect, useLayoutEffect, useReducer, useRef } from 'preact/hooks';
import { clock, span } from './format.ts';
import { connect } from './live.ts';
import { Overview } from './overview.tsx';
import { useRoute } from './route.ts';
import { SignIn } from './sign-in.tsx';
import { FunctionPage } from './function-page.tsx';
import { store, useConnection, useTables, type Connection } from './store.ts';

const CONNECTIONS: Readonly<Record<Connection, string>> = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Connection lost; trying again',
  ended: 'The controller has ended; trying again',
  key: 'A key is needed',
  denied: 'This key may not read the state',
};

function App(): JSX.Element {
  const { functionName, query } = useRoute();
  const connection = useConnection();
  const isLocked = connection === 'key' || connection === 'denied';
  const isStale = (connection === 'lost' || connection === 'ended') && store.heardAtMs > 0;
  useEffect(() => {
    document.title = functionName === null ? 'SnapFaaS' : `${functionName} – SnapFaaS`;
  }, [functionName]);
  useBeginning(functionName, query.has('vm'));
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => skip(event)}>
        Skip to the content
      </a>
      <TopBar connection={connection} />
      {isStale && <Stale connection={connection} />}
      <main id="main" tabIndex={-1} class={isStale ? 'stale' : ''}>
        {isLocked ? (
          <SignIn isDenied={connection === 'denied'} />
        ) : functionName === null ? (
          <Overview />
        ) : (
          <FunctionPage key={functionName} name={functionName} vm={query.get('vm')} />
        )}
      </main>
    </>
  );
}

/**
 * Whoever comes to a function is at its beginning, by the eyes and by the keyboard: the browser takes it for the page on which they were.
 * Back to the overview, it knows where that was left.
 */
function useBeginning(functionName: string | null, isAtVm: boolean): void {
  const before = useRef(functionName);
  useLayoutEffect(() => {
    if (functionName === before.current) return;
    before.current = functionName;
    if (functionName === null || isAtVm) return;
    scrollTo(0, 0);
    document.getElementById('main')?.focus({ preventScroll: true });
  }, [functionName]);
}

/** What is below is as it was, and looks as if it still were. */
function Stale({ connection }: { readonly connection: Connection }): JSX.Element {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const timer = setInterval(() => redraw(undefined), 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <p class="banner error lost" role="alert">
      <b>{connection === 'ended' ? 'The controller has ended.' : 'The connection is lost.'}</b> What is shown is as it
      was at {clock(store.heardAtMs)}, <span aria-hidden="true">{span(Date.now() - store.heardAtMs)} ago</span>.
    </p>
  );
}

/** The address says which view is seen: it stays as it is. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function TopBar({ connection }: { readonly connection: Connection }): JSX.Element {
  const { host } = useTables('host');
  const { about, state } = host;
  return (
    <header class="top">
      <a class="brand" href="#/">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M6 9h7v6H6zm9 0h4v6h-4zm6 0h5v6h-5zM6 17h4v6H6zm6 0h9v6h-9zm11 0h3v6h-3z" />
        </svg>
        SnapFaaS
      </a>
      {about !== undefined && (
        <span class="quiet facts">
          {about.vmm ?? 'starting'} · up {span(Date.now() - about.startedAtMs)}
          {state === 'draining' && ' · draining'}
        </span>
      )}
      <span class={`connection ${connection}`} role="status">
        {CONNECTIONS[connection]}
      </span>
    </header>
  );
}

const place = document.getElementById('page');
if (place !== null) render(<App />, place);
connect();
