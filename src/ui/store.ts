/** Runs in the live page. The state of the controller as the stream tells it, and who is told of changes. */
import { useLayoutEffect, useReducer } from 'preact/hooks';
import {
  applyPatch,
  emptyState,
  TABLES,
  type LivePatch,
  type LiveState,
  type TableName,
} from '../protocol/live-state.ts';
import { painter } from './painter.ts';

/** `key`: it wants a key, or another one; `denied`: the key may not read the state. */
export type Connection = 'connecting' | 'live' | 'lost' | 'ended' | 'key' | 'denied';

export interface Change {
  /** All that was known before is void. */
  readonly isFull: boolean;
  readonly patch: LivePatch;
}

type Listener = (change: Change) => void;

export class Store {
  state: LiveState = emptyState();
  connection: Connection = 'connecting';
  /** When the last message came, in ms since 1970; 0: none did. */
  heardAtMs = 0;
  readonly #listeners = new Set<Listener>();
  readonly #onConnection = new Set<() => void>();

  full(patch: LivePatch): void {
    this.heardAtMs = Date.now();
    this.state = emptyState();
    applyPatch(this.state, patch);
    this.#tell({ isFull: true, patch });
  }

  patch(patch: LivePatch): void {
    this.heardAtMs = Date.now();
    applyPatch(this.state, patch);
    this.#tell({ isFull: false, patch });
  }

  setConnection(connection: Connection): void {
    if (connection === this.connection) return;
    this.connection = connection;
    for (const tell of this.#onConnection) tell();
  }

  /** @returns what ends it. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  listenConnection(listener: () => void): () => void {
    this.#onConnection.add(listener);
    return () => this.#onConnection.delete(listener);
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}

export const store = new Store();

/** The state, for a component that is drawn again when one of the tables has changed. */
export function useTables(...tables: readonly TableName[]): LiveState {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  // Before anything else runs: other effects wait for a frame, and what changes until then would not be told.
  useLayoutEffect(() => {
    const draw = (): void => redraw(undefined);
    const end = store.listen(({ isFull, patch }) => {
      if (isFull || tables.some((name) => patch[name] !== undefined)) painter.request(draw);
    });
    return () => {
      end();
      painter.forget(draw);
    };
  }, [tables.join()]);
  return store.state;
}

export function useConnection(): Connection {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  useLayoutEffect(() => store.listenConnection(() => redraw(undefined)), []);
  return store.connection;
}

export { TABLES };
