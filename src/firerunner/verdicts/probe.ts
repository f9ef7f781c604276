/**
 * Runs in firerunner and in `snapctr doctor`. The proof that a VMM works here: a guest that says one word when its init runs.
 * /dev/kvm may open, answer and create a VM, and still never run a stock kernel, as in some nested hosts.
 */
import { messageOf } from '../../protocol/errors.ts';
import { LaunchError } from '../drivers/driver.ts';
import { OutputTail, type VmmProcess } from '../programs/vmm-process.ts';

/** A guest on hardware that runs at all says so within this time, in ms. */
export const PROBE_LIMIT_MS = 5000;
/** How long after a failed request the VMM's own end is waited for, in ms. */
const LAST_WORDS_MS = 200;
/** What init prints when the kernel command line holds `snapfaas.probe`. */
const PROBE_WORD = 'snapfaas-probe-ok';
/** Which of a VMM's last lines says most. */
const TELLING = /error|fail|fault|panic|cannot|could not|denied|not found/i;

/**
 * Waits until the guest has said its word on the VMM's stdout, and ends the VMM in any case.
 *
 * @param start starts the VMM.
 * @param bringUp what starts the guest once the VMM runs; it ends by the signal.
 * @returns why the guest did not run, as the end of a sentence that begins with "a guest"; null if it did.
 */
export async function probeGuest(
  start: () => Promise<VmmProcess>,
  limitMs: number,
  bringUp: (signal: AbortSignal) => Promise<void> = () => Promise.resolve(),
): Promise<string | null> {
  let vmm: VmmProcess;
  try {
    vmm = await start();
  } catch (error) {
    if (!(error instanceof LaunchError)) throw error;
    return `could not be started: ${error.message}`;
  }
  const tail = new OutputTail();
  tail.watch(vmm.child.stdout);
  tail.watch(vmm.child.stderr);
  const hasSpoken = (): boolean => tail.lines().some((line) => line.includes(PROBE_WORD));
  const over = new AbortController();
  // Whatever comes first settles it: killing the VMM below is an end as well.
  const failure = await new Promise<string | null>((resolve) => {
    vmm.child.stdout?.on('data', () => {
      if (hasSpoken()) resolve(null);
    });
    void vmm.exited.then(({ reason }) => {
      const line = tail.lines().find((one) => TELLING.test(one));
      resolve(`failed: ${line === undefined ? reason : `${line} (${reason})`}`);
    });
    const timer = setTimeout(() => resolve(`did not come up within ${limitMs} ms`), limitMs);
    over.signal.addEventListener('abort', () => clearTimeout(timer));
    bringUp(over.signal).catch((error: unknown) => {
      const why = `could not be started: ${messageOf(error)}`;
      // The end of the process, if that is the cause, tells more.
      setTimeout(() => resolve(why), LAST_WORDS_MS);
    });
  });
  over.abort(new Error('the probe is over'));
  await vmm.kill();
  return hasSpoken() ? null : failure;
}
