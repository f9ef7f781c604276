/** Runs in snapctr. What a function uses of the host, all of its versions together. */
import type { Holder } from './keep-alive.ts';

export class FunctionUse implements Holder {
  readonly name: string;
  /** Most VMs at once; null: as many as memory allows. */
  concurrencyLimit: number | null = null;
  /** VMs that launch or run. */
  inUse = 0;
  /** Memory of all its VMs, in MiB. */
  heldMib = 0;

  constructor(name: string) {
    this.name = name;
  }

  get isAtLimit(): boolean {
    return this.concurrencyLimit !== null && this.inUse >= this.concurrencyLimit;
  }
}
