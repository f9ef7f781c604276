/** Runs in the live page. Keeps the store at the controller's state, whatever becomes of the connection. */
import type { LivePatch } from '../protocol/live-state.ts';
import { readStream, RefusedError } from './server.ts';
import { store } from './store.ts';

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

let stop: AbortController | null = null;

/** Also with another key. */
export function connect(): void {
  stop?.abort();
  stop = new AbortController();
  void follow(stop.signal);
}

async function follow(signal: AbortSignal): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS;
  /** Asked anew: it may have changed. */
  const isStopped = (): boolean => signal.aborted;
  store.setConnection('connecting');
  while (!isStopped()) {
    try {
      for await (const { event, data } of readStream('/ui/stream', signal)) {
        if (event === 'full') store.full(JSON.parse(data) as LivePatch);
        else if (event === 'patch') store.patch(JSON.parse(data) as LivePatch);
        else if (event === 'end') store.setConnection('ended');
        if (event !== 'end') {
          store.setConnection('live');
          pauseMs = FIRST_PAUSE_MS;
        }
      }
    } catch (error) {
      if (isStopped()) return;
      if (error instanceof RefusedError && error.status === 401) return store.setConnection('key');
      if (error instanceof RefusedError && error.status === 403) return store.setConnection('denied');
    }
    if (isStopped()) return;
    if (store.connection !== 'ended') store.setConnection('lost');
    await new Promise((resolve) => setTimeout(resolve, pauseMs * (0.75 + Math.random() / 2)));
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}
