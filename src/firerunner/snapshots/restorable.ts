/**
 * Runs in firerunner. A snapshot that is ready for launches: verified, its memory composed in one file. Both files are
 * private, so that nobody changes or removes what a VM has mapped.
 */
import type { Driver, Machine, SavedFile } from '../machine.ts';
import type { SavedGuest } from '../launch.ts';
import { verifyState, type Layer } from './layer.ts';
import { openPrivateFile, openPrivateMemory, type PrivateMemory } from './memory.ts';
import { closePrivate, type PrivateFile } from '../../storage/private-file.ts';
import { readAhead, touchedPages, type PageRun } from './working-set.ts';
import { readWorkingSet, writeWorkingSet } from './working-set-file.ts';

export class Restorable {
  readonly guest: SavedGuest;
  /** The layer on top. */
  readonly layer: Layer;
  readonly memory: PrivateMemory;
  readonly #state: PrivateFile;
  #workingSet: readonly PageRun[] | null;
  #isRecording = false;
  #holds = 0;
  #isRetired = false;

  private constructor(
    layer: Layer,
    memory: PrivateMemory,
    state: PrivateFile,
    workingSet: readonly PageRun[] | null,
    holdsFunction: boolean,
  ) {
    this.layer = layer;
    this.memory = memory;
    this.#state = state;
    this.#workingSet = workingSet;
    this.guest = {
      machine: { memory: savedFile(memory), state: savedFile(state) },
      holdsFunction,
    };
  }

  /**
   * @param driver what it will be restored with.
   * @param directory for the private files, if the driver does not want them elsewhere.
   * @param layers base first; all of them are verified.
   * @throws DamagedLayerError
   */
  static async open(
    driver: Driver,
    directory: string,
    layers: readonly Layer[],
    holdsFunction: boolean,
  ): Promise<Restorable> {
    const top = layers.at(-1);
    if (top === undefined) throw new Error('a snapshot has one layer at least');
    const filesDirectory = driver.snapshots?.filesDirectory ?? null;
    const place = { directory: filesDirectory ?? directory, isNamed: filesDirectory !== null };
    const stateBytes = await verifyState(top);
    const memory = await openPrivateMemory(place, layers);
    const state = await openPrivateFile(place, stateBytes).catch(async (error: unknown) => {
      await closePrivate(memory);
      throw error;
    });
    return new Restorable(top, memory, state, await readWorkingSet(top), holdsFunction);
  }

  /**
   * Keeps the files open until the returned function is called.
   * @throws Error if they are closed: another file may have their numbers by now.
   */
  hold(): () => void {
    if (this.#isClosed) throw new Error(`${this.layer.name} was closed already`);
    this.#holds += 1;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holds -= 1;
      this.#closeIfUnused();
    };
  }

  /** No new launch will use it; VMs that run on it are not concerned. */
  retire(): void {
    this.#isRetired = true;
    this.#closeIfUnused();
  }

  /** Starts to bring the working set into the page cache if it is not there. */
  readAhead(): void {
    const workingSet = this.#workingSet;
    if (workingSet === null) return;
    const release = this.hold();
    // What cannot be read ahead is read when the VM touches it.
    void readAhead(this.memory.handle, workingSet)
      .catch(() => undefined)
      .finally(release);
  }

  /** Records what a VM of this snapshot has touched by now, if that is not known yet and its files are open. */
  async recordWorkingSet({ pid }: Machine): Promise<void> {
    if (this.#workingSet !== null || this.#isRecording || this.#isClosed || pid === null) return;
    this.#isRecording = true;
    const release = this.hold();
    try {
      const runs = await touchedPages(pid, this.memory.handle);
      if (runs.length === 0) return;
      this.#workingSet = runs;
      await writeWorkingSet(this.layer, runs);
    } catch {
      // The VM ended meanwhile, or the store is read-only: the next VM or start records it.
    } finally {
      this.#isRecording = false;
      release();
    }
  }

  get #isClosed(): boolean {
    return this.#isRetired && this.#holds === 0;
  }

  #closeIfUnused(): void {
    if (!this.#isClosed) return;
    for (const file of [this.memory, this.#state]) void closePrivate(file).catch(() => undefined);
  }
}

function savedFile({ handle, path }: PrivateFile): SavedFile {
  return { fd: handle.fd, path };
}
