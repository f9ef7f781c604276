/**
 * Runs in firerunner and in `snapctr doctor`. The proof that a VMM works here: a guest that says one word when its init runs.
 * /dev/kvm may open, answer and create a VM, and still never run a stock kernel, as in some nested hosts.
 */
import { messageOf } from '../../protocol/errors.ts';
import { LaunchError } from '../machine.ts';
import { ConsoleTail, type VmmProcess } from '../programs/vmm-process.ts';
import type { Keep } from './cache.ts';

/** A guest on hardware that runs at all says so within this time, in ms. */
export const PROBE_LIMIT_MS = 5000;
/** How long after a failed request the VMM's own end is waited for, in ms. */
const LAST_WORDS_MS = 200;
/** What init prints when the kernel command line holds `snapfaas.probe`. */
const PROBE_WORD = 'snapfaas-probe-ok';
/** What helps where a VMM was not even started; these words are those of `startVmmProcess`. */
const NO_SETPRIV = /setpriv could not be started: .*ENOENT/;
const SETPRIV_REMEDY = 'install setpriv, which starts VMMs: apt-get install util-linux';
/** Which of a VMM's last lines says most. */
const TELLING = /error|fail|fault|panic|cannot|could not|denied|not found/i;

/** Else one that QEMU says in its own name. */
const OWN_LINE = /^qemu(-system-\S+)?: /;

export interface ProbeFailure {
  /** Why the guest did not run, as the end of a sentence that begins with "a guest". */
  readonly why: string;
  /** `late`: it may have been the host's load; `host`: no VMM was started; `guest`: the VMM or its guest failed. */
  readonly kind: 'late' | 'host' | 'guest';
}

/** @param otherwise what to do if nothing better is known. */
export function remedyOf({ why }: ProbeFailure, otherwise: string): string {
  return NO_SETPRIV.test(why) ? SETPRIV_REMEDY : otherwise;
}

/** How long a result holds that came of a probe: load passes, and a host that lacks something gets it, without a boot. */
export function keepOf(failure: ProbeFailure | null): Keep {
  switch (failure?.kind) {
    case 'late':
      return 'briefly';
    case 'host':
      return 'never';
    case 'guest':
    case undefined:
      return 'boot';
  }
}

/**
 * Waits until the guest has said its word on the VMM's stdout, and ends the VMM in any case.
 *
 * @param start starts the VMM.
 * @param bringUp what starts the guest once the VMM runs; it ends by the signal.
 * @returns null if the guest ran.
 */
export async function probeGuest(
  start: () => Promise<VmmProcess>,
  limitMs: number,
  bringUp: (signal: AbortSignal) => Promise<void> = () => Promise.resolve(),
): Promise<ProbeFailure | null> {
  let vmm: VmmProcess;
  try {
    vmm = await start();
  } catch (error) {
    if (!(error instanceof LaunchError)) throw error;
    return { why: `could not be started: ${error.message}`, kind: 'host' };
  }
  const tail = new ConsoleTail();
  tail.watch(vmm.child.stdout);
  tail.watch(vmm.child.stderr);
  const hasSpoken = (): boolean => tail.lines().some((line) => line.includes(PROBE_WORD));
  const over = new AbortController();
  // Whatever comes first settles it: killing the VMM below is an end as well.
  const failure = await new Promise<ProbeFailure | null>((resolve) => {
    vmm.child.stdout?.on('data', () => {
      if (hasSpoken()) resolve(null);
    });
    void vmm.exited.then(({ reason }) => {
      const line = tail.lines().find((one) => TELLING.test(one)) ?? tail.lines().find((one) => OWN_LINE.test(one));
      resolve({ why: `failed: ${line === undefined ? reason : `${line} (${reason})`}`, kind: 'guest' });
    });
    const late: ProbeFailure = { why: `did not come up within ${limitMs} ms`, kind: 'late' };
    const timer = setTimeout(() => resolve(late), limitMs);
    over.signal.addEventListener('abort', () => clearTimeout(timer));
    bringUp(over.signal).catch((error: unknown) => {
      const why = `could not be started: ${messageOf(error)}`;
      // The end of the process, if that is the cause, tells more.
      setTimeout(() => resolve({ why, kind: 'guest' }), LAST_WORDS_MS);
    });
  });
  over.abort(new Error('the probe is over'));
  await vmm.kill();
  return hasSpoken() ? null : failure;
}
