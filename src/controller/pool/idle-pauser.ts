/**
 * Runs in snapctr. Pauses VMs that stay idle, so that their guests' timers cost no CPU time.
 *
 * ```
 *   add ──▶ young ──tick──▶ old ──tick──▶ paused
 * ```
 *
 * A VM is paused between one and two ticks after it became idle; a busy one never gets there. Adding and removing are what
 * a warm request pays.
 */

/** What is asked of a VM. */
export interface Pausable {
  pause(): void;
  resume(): void;
}

/** Short enough to keep idle VMs cheap, long enough not to pause between the requests of a steady load, in ms. */
const TICK_MS = 200;

export class IdlePauser<V extends Pausable> {
  #young = new Set<V>();
  #old = new Set<V>();
  readonly #paused = new Set<V>();
  #timer: NodeJS.Timeout | null = null;

  /** The VM has become idle. */
  add(vm: V): void {
    this.#young.add(vm);
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** The VM was taken: it runs before whatever is sent to it next. */
  take(vm: V): void {
    if (this.#young.delete(vm) || this.#old.delete(vm)) return;
    if (this.#paused.delete(vm)) vm.resume();
  }

  /** The VM is about to end. */
  forget(vm: V): void {
    if (!this.#young.delete(vm) && !this.#old.delete(vm)) this.#paused.delete(vm);
  }

  get paused(): number {
    return this.#paused.size;
  }

  #tick(): void {
    for (const vm of this.#old) {
      this.#paused.add(vm);
      vm.pause();
    }
    this.#old = this.#young;
    this.#young = new Set();
    if (this.#old.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}
