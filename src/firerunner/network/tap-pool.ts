/**
 * Runs in firerunner. The host's taps, one for each VM with a network that runs at the same time:
 *
 * ```
 *   free ──take──▶ held ──ending──▶ on its way back ──release──▶ free, or the next in line's
 * ```
 *
 * A launch that finds none free waits for those that are on their way back. It fails at once when every tap is with a VM
 * that runs: such a VM may stay for any time.
 */
import { abortReason } from '../../protocol/abort.ts';
import type { GuestNetwork } from '../../protocol/guest-network.ts';
import { LINK_PREFIX_LENGTH, tapAddresses } from '../../protocol/tap-addresses.ts';
import type { NetworkSettings } from '../../protocol/vmm-settings.ts';
import { HostError, type NetworkAttachment } from '../machine.ts';

/** One tap, and what the guest at its end is told. */
export interface Tap {
  readonly attachment: NetworkAttachment;
  readonly guest: GuestNetwork;
}

/** A tap that is taken. */
export interface TapLease extends Tap {
  /** Its VM has been told to end: others may wait for the tap. */
  ending(): void;
  /** The VM's process is gone. May be called more than once. */
  release(): void;
}

/** All taps are with VMs that run. It says nothing of the function: another time there may be one. */
export class NoFreeTapError extends HostError {}

interface Waiting {
  readonly resolve: (lease: TapLease) => void;
  readonly reject: (error: unknown) => void;
  readonly signal: AbortSignal;
  readonly isBrief: boolean;
}

export class TapPool {
  readonly #size: number;
  /** The one that was given back first is taken first: its guest's last packets are the oldest. */
  readonly #free: Tap[];
  /** Taken, and given back soon by itself. */
  readonly #ending = new Set<Tap>();
  readonly #line = new Set<Waiting>();

  constructor(taps: readonly Tap[]) {
    this.#size = taps.length;
    this.#free = [...taps];
  }

  static of(settings: NetworkSettings): TapPool {
    return new TapPool(
      tapAddresses(settings).map(({ tapName, mac, hostAddress, guestAddress }) => ({
        attachment: { tapName, mac },
        guest: {
          mac,
          address: guestAddress,
          prefixLength: LINK_PREFIX_LENGTH,
          gateway: hostAddress,
          dns: settings.dns,
        },
      })),
    );
  }

  /**
   * @param signal ends the wait; once the tap is taken, it means that the VM is about to end.
   * @param isBrief the VM ends by itself, soon: others may wait for its tap.
   * @throws NoFreeTapError if all taps are with VMs that run; the signal's reason.
   */
  async take(signal: AbortSignal, isBrief = false): Promise<TapLease> {
    signal.throwIfAborted();
    const tap = this.#free.shift();
    return tap === undefined ? this.#waitInLine(signal, isBrief) : this.#lend(tap, signal, isBrief);
  }

  #waitInLine(signal: AbortSignal, isBrief: boolean): Promise<TapLease> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#line.delete(waiting);
        reject(abortReason(signal));
      };
      const settled = (): void => signal.removeEventListener('abort', onAbort);
      const waiting: Waiting = {
        resolve: (lease) => (settled(), resolve(lease)),
        reject: (error) => (settled(), reject(error instanceof Error ? error : new Error(String(error)))),
        signal,
        isBrief,
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#line.add(waiting);
      this.#refuseInVain();
    });
  }

  #lend(tap: Tap, signal: AbortSignal, isBrief: boolean): TapLease {
    if (isBrief) this.#ending.add(tap);
    let isOut = true;
    const ending = (): void => {
      if (isOut) this.#ending.add(tap);
    };
    signal.addEventListener('abort', ending, { once: true });
    return {
      ...tap,
      ending,
      release: () => {
        if (!isOut) return;
        isOut = false;
        signal.removeEventListener('abort', ending);
        this.#ending.delete(tap);
        this.#giveBack(tap);
      },
    };
  }

  #giveBack(tap: Tap): void {
    const [next] = this.#line;
    if (next === undefined) {
      this.#free.push(tap);
      return;
    }
    this.#line.delete(next);
    next.resolve(this.#lend(tap, next.signal, next.isBrief));
    this.#refuseInVain();
  }

  /** Nobody waits for what only somebody else's decision would give back. */
  #refuseInVain(): void {
    if (this.#ending.size > 0) return;
    const line = [...this.#line];
    this.#line.clear();
    for (const { reject } of line) reject(this.#noFreeTap());
  }

  #noFreeTap(): NoFreeTapError {
    const which = this.#size === 1 ? 'the only tap is' : `all ${this.#size} taps are`;
    return new NoFreeTapError(
      `${which} in use by VMs that run; add more to \`network.taps\`, or limit the functions with a network by ` +
        '`concurrency_limit`',
    );
  }
}
