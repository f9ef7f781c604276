/** Runs in firerunner and in `snapctr doctor`. What `--vmm auto` takes: the best of what was proved to work. */
import type { QemuAccelerator } from '../../protocol/runner.ts';
import type { Verdict } from './result.ts';

/** How the verdicts are come by; asked for in this order, and only as far as needed. */
export interface Prospects {
  /** VMs are to be jailed, which only Firecracker's are: nothing takes its place. */
  readonly jailed: boolean;
  firecracker(): Promise<Verdict>;
  kvm(): Promise<Verdict>;
  qemu(): Verdict;
}

/** `reason`: one sentence for the log, why this one and why none of the better ones; with all remedies if there is none. */
export type Ranking =
  | { readonly vmm: 'firecracker'; readonly reason: string }
  | { readonly vmm: 'qemu'; readonly accelerator: QemuAccelerator; readonly reason: string }
  | { readonly vmm: null; readonly reason: string };

/** Firecracker, else QEMU with KVM, else QEMU with emulation, else none. Never plain processes: they isolate nothing. */
export async function rankVmms(prospects: Prospects): Promise<Ranking> {
  const firecracker = await prospects.firecracker();
  if (firecracker.usable) return { vmm: 'firecracker', reason: `firecracker: ${firecracker.finding}` };
  if (prospects.jailed) {
    const { finding, remedy } = firecracker;
    const reason = `Firecracker cannot be used: ${finding}${remedy === null ? '' : ` (${remedy})`}`;
    return { vmm: null, reason: `${reason}. QEMU would run VMs without the jail that \`jailer\` asks for` };
  }
  const qemu = prospects.qemu();
  if (!qemu.usable) {
    const reasons = [firecracker, qemu].map(({ finding, remedy }) =>
      remedy === null ? finding : `${finding} (${remedy})`,
    );
    return {
      vmm: null,
      reason:
        `no VMM can be used: ${reasons.join('; ')}. ` +
        'Without any, --vmm process runs functions as plain processes, without isolation',
    };
  }
  const { accelerator, reason } = await chooseAccelerator(() => prospects.kvm());
  return { vmm: 'qemu', accelerator, reason: `${reason}; not firecracker: ${firecracker.finding}` };
}

/** How QEMU runs guests, where QEMU is there. */
export async function chooseAccelerator(
  kvm: () => Promise<Verdict>,
): Promise<{ readonly accelerator: QemuAccelerator; readonly reason: string }> {
  const verdict = await kvm();
  const accelerator = verdict.usable ? 'kvm' : 'tcg';
  return { accelerator, reason: `qemu with ${accelerator}: ${verdict.finding}` };
}
