/**
 * Runs in firerunner. The life of one snapshot, of a function or of a base layer:
 *
 * ```
 *   absent ──▶ building ──▶ closed ──▶ opening ──▶ open      closed: its layer is in the store, its memory not composed
 *                │  ▲         ▲           │          │
 *                │  │ retry   └───────────┼── close ─┤       as many others as may be are open
 *                ▼  │                     │          │
 *               failed ◀──────────────────┘          │
 *                   building ◀───────────────────────┘       a restore failed: its layer is verified, or built again
 * ```
 *
 * It ends `retired`, when the files it was made from have changed. A layer leaves the store only if it turns out to be
 * damaged; what the host lacked, or a guest did, costs time and nothing else.
 */
import { messageOf } from '../../protocol/errors.ts';
import { isHosts } from '../machine.ts';
import { FunctionLoadError } from '../guest/guest-life.ts';
import type { PrepareHooks } from './layer-builds.ts';
import type { Restorable } from './restorable.ts';
import { SnapshotStoreError } from './store-error.ts';

export type SnapshotState =
  | { readonly is: 'absent' | 'building' | 'closed' | 'opening' | 'retired' }
  | { readonly is: 'open'; readonly restorable: Restorable }
  | { readonly is: 'failed'; readonly reason: string };

export interface Prepared {
  /** Name of the layer on top. */
  readonly layer: string;
  /** How long building took, in ms; null if the layer was there. */
  readonly builtMs: number | null;
}

/** What becomes of a snapshot, whenever that changes. */
export interface SnapshotObserver extends PrepareHooks {
  readonly onPrepared?: (prepared: Prepared) => void;
  /** @param retryInMs after which it is tried again. */
  readonly onFailed?: (error: unknown, retryInMs: number) => void;
}

/** How a snapshot is made: looks for its layer in the store, has it built if need be, and opens it if that is asked for. */
export type Recipe = (request: RecipeRequest) => Promise<Made>;

export interface RecipeRequest {
  readonly hooks: PrepareHooks;
  /** Whether its memory is composed now. */
  readonly open: boolean;
  /** Digest of a layer that cannot be restored although it is whole: not that one again. */
  readonly unlike: string | null;
  /** To be called once it is known whether the layer only has to be opened. */
  readonly onFound: (isStored: boolean) => void;
  /** To be called when a VM begins to be built from. */
  readonly onBuilding: () => void;
  /** To be called with the names of its layers, as soon as they are in the store. */
  readonly onLayers: (names: readonly string[]) => void;
}

export interface Made extends Prepared {
  /** Null if it was not opened. */
  readonly restorable: Restorable | null;
}

export interface SnapshotOptions {
  readonly make: Recipe;
  /** Whether its memory is to be composed as soon as its layer is there; asked each time. */
  readonly mayOpen: () => boolean;
  /** Runs `work` when it is this snapshot's turn. */
  readonly whenTurn: (work: () => Promise<unknown>) => void;
  /** How long it takes to save what was built, in ms. */
  readonly savingMs: () => number;
  readonly onOpened?: () => void;
  /** Told of the names of its layers in the store, each time it is made. */
  readonly onLayers?: (names: readonly string[]) => void;
  /** Called when it is no longer open. */
  readonly onClosed?: () => void;
  /** When it is aborted nothing is tried again. */
  readonly signal: AbortSignal;
  /** Told of what becomes of it until another one asks. */
  readonly observer?: SnapshotObserver | undefined;
}

/** After a failure it is tried again: at first after this time, twice as late each time, at the latest after the other. In ms. */
interface Backoff {
  readonly firstMs: number;
  readonly mostMs: number;
}

const MINUTE_MS = 60_000;
/** The host may have soon what it lacked. */
const HOST_BACKOFF: Backoff = { firstMs: 1000, mostMs: 5 * MINUTE_MS };
/** The import may have called a service that was down. */
const FUNCTION_BACKOFF: Backoff = { firstMs: MINUTE_MS, mostMs: 60 * MINUTE_MS };
const OTHER_BACKOFF: Backoff = { firstMs: 10_000, mostMs: 30 * MINUTE_MS };

/**
 * Restores in a row that fail before the layer is built again, although it is whole, and before it is given up for a while:
 * each was another VMM's.
 */
const REFUSALS_BEFORE_REBUILD = 2;
const REFUSALS_BEFORE_FAILED = 4;

/** An open snapshot whose files stay open for a launch. */
export interface HeldSnapshot {
  readonly restorable: Restorable;
  /** Lets go of the files; further calls do nothing. */
  release(): void;
  /** A VM runs that was restored from it. */
  onRestored(): void;
  /** It could not be restored, by no fault of the host's. */
  onRefused(reason: string): void;
}

interface Work {
  readonly prepared: Promise<Prepared>;
  /** Resolves as soon as that is known: whether its layer is in the store and only has to be opened, which is quick. */
  readonly isStored: Promise<boolean>;
  /** Since when a VM is built from; null: none is. */
  buildingSince: number | null;
  /** Has it done now, if it waits for its turn. */
  readonly prioritize: () => void;
}

export class Snapshot {
  readonly #options: SnapshotOptions;
  #state: SnapshotState = { is: 'absent' };
  #work: Work | null = null;
  #observer: SnapshotObserver;
  readonly #hooks: PrepareHooks = {
    onProgress: (text) => this.#observer.onProgress?.(text),
    onLog: (header, text) => this.#observer.onLog?.(header, text) ?? null,
  };
  #failures = 0;
  #refusals = 0;
  #retry: NodeJS.Timeout | null = null;

  constructor(options: SnapshotOptions) {
    this.#options = options;
    this.#observer = options.observer ?? {};
  }

  get observer(): SnapshotObserver {
    return this.#observer;
  }

  get state(): SnapshotState {
    return this.#state;
  }

  /** The open snapshot; null in every other state. */
  get restorable(): Restorable | null {
    return this.#state.is === 'open' ? this.#state.restorable : null;
  }

  /**
   * Makes it ready: opens it, or builds it first. Calls share the work.
   *
   * @param observer told from now on, in place of the one before.
   * @throws FunctionLoadError if the import or a hook before the snapshot fails; LaunchError; SnapshotStoreError; Error if
   * it is retired.
   */
  prepare(observer: SnapshotObserver = this.#observer): Promise<Prepared> {
    if (this.#state.is === 'retired') return Promise.reject(new Error('the snapshot is not needed any more'));
    const isAnother = observer !== this.#observer;
    this.#observer = observer;
    if (this.#work !== null && this.#state.is !== 'failed') {
      // One that comes when all is done is told what those before it were.
      if (isAnother && (this.#state.is === 'open' || this.#state.is === 'closed')) {
        this.#work.prepared.then((prepared) => observer.onPrepared?.(prepared)).catch(() => undefined);
      }
      return this.#work.prepared;
    }
    return this.#begin(this.#options.whenTurn);
  }

  /**
   * Waits for it as long as it only has to be opened, however many others are before it, or is nearly built. Asks for it if
   * nobody has.
   */
  async untilOpen(): Promise<void> {
    if (this.#state.is === 'absent') this.prepare().catch(() => undefined);
    const work = this.#work;
    if (work !== null && (this.#state.is === 'building' || this.#state.is === 'opening')) {
      work.prioritize();
      if ((await work.isStored) || this.#isNearlyBuilt(work)) await work.prepared.catch(() => undefined);
    }
    if (this.#state.is === 'closed') await this.#begin(atOnce, { open: true }).catch(() => undefined);
  }

  /**
   * Up to the import a build does what a launch from the base would do now, and then it saves: it is ready sooner if it is
   * further ahead than that takes.
   */
  #isNearlyBuilt({ buildingSince }: Work): boolean {
    return buildingSince !== null && performance.now() - buildingSince > this.#options.savingMs();
  }

  /** Null if it is not open. */
  hold(): HeldSnapshot | null {
    const { restorable } = this;
    if (restorable === null) return null;
    return {
      restorable,
      release: restorable.hold(),
      onRestored: () => {
        if (this.restorable === restorable) this.#refusals = 0;
      },
      onRefused: (reason) => this.#refused(restorable, reason),
    };
  }

  /** Gives its memory back; the next launch opens it again. */
  close(): void {
    if (this.#state.is !== 'open') return;
    this.#leaveOpen();
    this.#state = { is: 'closed' };
  }

  /** The layer of this one, if it is the one that is open, is of no use any more: whoever needs it next has it made. */
  invalidate(restorable: Restorable): void {
    if (this.restorable !== restorable) return;
    this.#leaveOpen();
    this.#state = { is: 'absent' };
    this.#work = null;
  }

  /** Nobody needs it any more. */
  retire(): void {
    this.#leaveOpen();
    this.#state = { is: 'retired' };
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  /** Resolves when nothing is done for it any more. */
  async settled(): Promise<void> {
    await this.#work?.prepared.catch(() => undefined);
  }

  #begin(
    whenTurn: SnapshotOptions['whenTurn'],
    { open = false, unlike = null }: Partial<Pick<RecipeRequest, 'open' | 'unlike'>> = {},
  ): Promise<Prepared> {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#state = { is: this.#state.is === 'closed' ? 'opening' : 'building' };
    let onFound: (isStored: boolean) => void = () => undefined;
    const isStored = new Promise<boolean>((resolve) => (onFound = resolve));
    let prioritize: () => void = () => undefined;
    const prepared = new Promise<void>((resolve) => (prioritize = resolve)).then(async () => {
      try {
        // Asked when its turn comes: much may have changed meanwhile.
        const onBuilding = (): void => void (work.buildingSince = performance.now());
        const onLayers = (names: readonly string[]): void => {
          if (this.#state.is !== 'retired') this.#options.onLayers?.(names);
        };
        const isOpened = open || this.#options.mayOpen();
        const request = { hooks: this.#hooks, open: isOpened, unlike, onFound, onBuilding, onLayers };
        const { restorable, layer, builtMs } = await this.#options.make(request);
        if (this.#work === work) this.#made(restorable, { layer, builtMs });
        else restorable?.retire();
        return { layer, builtMs };
      } catch (error) {
        if (this.#work === work) this.#fail(error);
        throw error;
      } finally {
        onFound(false);
      }
    });
    const work: Work = { prepared, isStored, buildingSince: null, prioritize };
    this.#work = work;
    prepared.catch(() => undefined);
    whenTurn(() => {
      prioritize();
      return prepared.catch(() => undefined);
    });
    return prepared;
  }

  #made(restorable: Restorable | null, prepared: Prepared): void {
    this.#failures = 0;
    if (this.#state.is === 'retired') return restorable?.retire();
    this.#state = restorable === null ? { is: 'closed' } : { is: 'open', restorable };
    if (restorable !== null) this.#options.onOpened?.();
    this.#observer.onPrepared?.(prepared);
  }

  /** @param reason for launches; absent: what the error says. */
  #fail(error: unknown, reason?: string): void {
    if (this.#state.is === 'retired') return;
    const isFunctions = error instanceof FunctionLoadError;
    const why = isFunctions ? 'the function does not load' : 'its snapshot cannot be made';
    this.#state = { is: 'failed', reason: reason ?? `${why}: ${messageOf(error)}` };
    const { firstMs, mostMs } = isFunctions
      ? FUNCTION_BACKOFF
      : isHosts(error) || error instanceof SnapshotStoreError
        ? HOST_BACKOFF
        : OTHER_BACKOFF;
    const retryInMs = Math.min(mostMs, firstMs * 2 ** this.#failures);
    this.#failures += 1;
    if (this.#options.signal.aborted) return;
    this.#observer.onFailed?.(error, retryInMs);
    this.#retry = setTimeout(() => {
      if (this.#options.signal.aborted) return;
      this.#refusals = 0;
      this.prepare().catch(() => undefined);
    }, retryInMs).unref();
  }

  /**
   * A VM could not be restored from it. Opening it once more verifies all of its layers; if that does not help the layer is
   * built again, and takes the place of the old one.
   */
  #refused(restorable: Restorable, reason: string): void {
    if (this.restorable !== restorable) return;
    this.#refusals += 1;
    this.#leaveOpen();
    if (this.#refusals >= REFUSALS_BEFORE_FAILED) return this.#fail(new Error(reason), reason);
    this.#observer.onProgress?.(reason);
    const unlike = this.#refusals === REFUSALS_BEFORE_REBUILD ? restorable.layer.digest : null;
    this.#begin(atOnce, { open: true, unlike }).catch(() => undefined);
  }

  #leaveOpen(): void {
    if (this.#state.is !== 'open') return;
    this.#state.restorable.retire();
    this.#state = { is: 'building' };
    this.#options.onClosed?.();
  }
}

function atOnce(work: () => Promise<unknown>): void {
  void work();
}
