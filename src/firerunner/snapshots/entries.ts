/** Runs in firerunner. The functions' snapshots that it knows of, and which of them keep their memory composed. */
import { messageOf } from '../../protocol/errors.ts';
import type { LaunchSpec } from '../../protocol/runner.ts';
import { HostError } from '../drivers/driver.ts';
import { FunctionLoadError } from '../guest/guest-life.ts';
import type { Restorable } from './restorable.ts';

/** Snapshots whose memory is kept composed; each takes disk space like the memory a guest uses, 50 to 100 MB. */
const OPEN_AT_MOST = 64;

export interface Prepared {
  /** Name of the function's layer in the store. */
  readonly layer: string;
  /** How long building took, in ms; null if the layer was there. */
  readonly builtMs: number | null;
}

export interface Entry {
  readonly key: string;
  readonly spec: LaunchSpec;
  /** Of the files it was made from: other files need another snapshot. */
  readonly identity: string;
  /** Set after a restore failed, so that a snapshot that never works is not built again and again. */
  readonly isSecondTry: boolean;
  readonly prepared: Promise<Prepared>;
  /** Resolves as soon as that is known: whether its layer is in the store and only has to be opened, which is quick. */
  readonly isInStore: Promise<boolean>;
  /** Has it prepared now, if it waits for its turn. */
  readonly hurry: () => void;
  restorable: Restorable | null;
  /** Its layer is in the store, but its memory is not composed: so many others are, or were used later. */
  isClosed: boolean;
  /** Why there is none, and will be none until the files change. */
  problem: string | null;
}

export class Entries {
  readonly #byKey = new Map<string, Entry>();
  /** Those with a `Restorable`, the one used last at the end; and how many are about to be. */
  readonly #open = new Set<Entry>();
  readonly #openAtMost: number;
  #opening = 0;

  constructor(openAtMost = OPEN_AT_MOST) {
    this.#openAtMost = openAtMost;
  }

  get(key: string): Entry | undefined {
    return this.#byKey.get(key);
  }

  /** Whether another one can be opened without closing one. */
  get hasRoom(): boolean {
    return this.#open.size + this.#opening < this.#openAtMost;
  }

  /**
   * Adds an entry, in place of another one of the same key, and has it prepared.
   *
   * @param prepare calls `found` once it knows whether the layer is in the store.
   * @param whenTurn calls its argument when it is the entry's turn.
   */
  begin(
    { key, spec, identity, isSecondTry }: Pick<Entry, 'key' | 'spec' | 'identity' | 'isSecondTry'>,
    prepare: (entry: Entry, found: (isThere: boolean) => void) => Promise<Prepared>,
    whenTurn: (work: () => Promise<unknown>) => void = (work) => void work(),
  ): Entry {
    let found: (isThere: boolean) => void = () => undefined;
    const isInStore = new Promise<boolean>((resolve) => (found = resolve));
    let hurry: () => void = () => undefined;
    const prepared = new Promise<void>((resolve) => (hurry = resolve)).then(() => prepare(entry, found));
    const state = { restorable: null, isClosed: false, problem: null };
    const entry: Entry = { key, spec, identity, isSecondTry, prepared, isInStore, hurry, ...state };
    this.#byKey.set(key, entry);
    whenTurn(() => {
      hurry();
      return prepared.catch(() => undefined);
    });
    prepared.catch((error: unknown) => {
      const why = error instanceof FunctionLoadError ? 'the function does not load' : 'its snapshot cannot be made';
      entry.problem = `${why}: ${messageOf(error)}`;
      // The host may have by the next launch what it lacked.
      if (error instanceof HostError && this.#byKey.get(key) === entry) this.#byKey.delete(key);
      found(false);
    });
    return entry;
  }

  /** Counts the entry as open while `open` works on that. */
  async opening<T>(open: () => Promise<T>): Promise<T> {
    this.#opening += 1;
    try {
      return await open();
    } finally {
      this.#opening -= 1;
    }
  }

  /** Other files may have taken its place meanwhile: then it is not needed. Others are closed if there are too many. */
  opened(entry: Entry, restorable: Restorable): void {
    if (this.#byKey.get(entry.key) !== entry) return restorable.retire();
    entry.restorable = restorable;
    this.touch(entry);
    for (const oldest of this.#open) {
      if (this.#open.size <= this.#openAtMost) break;
      this.close(oldest);
      oldest.isClosed = true;
    }
  }

  /** The entry has been used. */
  touch(entry: Entry): void {
    this.#open.delete(entry);
    this.#open.add(entry);
  }

  close(entry: Entry): void {
    this.#open.delete(entry);
    entry.restorable?.retire();
    entry.restorable = null;
  }

  /** The entry that a VM was restored from, if it is not closed yet. */
  of(restorable: Restorable): Entry | null {
    for (const entry of this.#open) if (entry.restorable === restorable) return entry;
    return null;
  }

  /** Resolves when none is being prepared any more. */
  async closeAll(): Promise<void> {
    await Promise.allSettled([...this.#byKey.values()].map((entry) => entry.prepared));
    for (const { restorable } of this.#byKey.values()) restorable?.retire();
  }
}
