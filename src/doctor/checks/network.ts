/** Runs in `snapctr doctor`. Whether VMs can use the tap devices of the configuration. */
import type { JailerSettings, VmmSettings } from '../../protocol/vmm-settings.ts';
import { NetworkSetupError } from '../../network/host-taps.ts';
import { examineTaps, mayAttach, ownerWords, type TapState, type TapUser } from '../../network/taps.ts';
import { ok, skipped, warning, type Check } from '../check.ts';
import { readHostFile, type DoctorContext } from '../context.ts';

/** Bit of CAP_NET_ADMIN, whose holders may use any tap. Source: the kernel's capability.h. */
const CAP_NET_ADMIN = 12n;
const UP = 'snapctr network up --config FILE';

export const networkCheck: Check = {
  name: 'network',
  async run(context) {
    const { network } = context.subject.settings;
    if (network === null) return skipped('not asked for: VMs have the loopback interface alone');
    let taps: readonly TapState[];
    try {
      taps = await examineTaps(network);
    } catch (error) {
      if (!(error instanceof NetworkSetupError)) throw error;
      return warning(`the taps cannot be examined: ${error.message}`, 'mend what it names');
    }
    return stateFault(taps) ?? accessFault(taps, context) ?? ok(`${taps.length} tap devices, ${network.subnet}`);
  },
};

function stateFault(taps: readonly TapState[]): ReturnType<typeof warning> | null {
  const faults = taps.filter(({ problem }) => problem !== null);
  if (faults.length === 0) return null;
  const words = faults.map(({ tapName, problem }) => `${tapName} ${problem ?? ''}`).join(', ');
  return warning(
    `taps that are not ready: ${words}; functions with a network cannot run in all of their VMs`,
    `make what is missing and bring up what is down, as root: ${UP}`,
  );
}

/** Firecracker and QEMU attach to taps as the user they run as. */
function accessFault(taps: readonly TapState[], context: DoctorContext): ReturnType<typeof warning> | null {
  const { jailer } = context.subject.settings;
  const users = usersOf(context);
  const closed = taps.filter(({ owner }) => owner !== null && !users.every((user) => mayAttach(owner, user)));
  if (closed.length === 0) return null;
  const words = closed.map(
    ({ tapName, owner }) => `${tapName} is for ${owner === null ? 'nobody' : ownerWords(owner)}`,
  );
  const whose = jailer === null ? 'this user' : 'VMs in jails, each a user of its own';
  const detail = `taps that ${whose} may not use: ${words.join(', ')}`;
  return warning(detail, accessRemedy(jailer));
}

function accessRemedy(jailer: JailerSettings | null): string {
  const anew = 'make them anew, as root: snapctr network down --config FILE, then';
  if (jailer === null) return `${anew} ${UP} --user ${process.geteuid?.() ?? 0}`;
  const group = jailer.gid ?? 'GROUP';
  return `${jailer.gid === null ? 'give VMs a group by `jailer.gid`, and ' : ''}${anew} ${UP} --group ${group}`;
}

/** As whom VMs attach; none if nothing is forbidden to them. */
function usersOf(context: DoctorContext): readonly TapUser[] {
  const { jailer }: VmmSettings = context.subject.settings;
  if (jailer !== null) {
    // Whoever differs in the range does so at its ends.
    const uids = [jailer.firstUid, jailer.firstUid + jailer.uidCount - 1];
    return uids.map((uid) => ({ uid, gids: [jailer.gid ?? uid] }));
  }
  const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(readHostFile(context, '/proc/self/status'))?.[1] ?? '0';
  if (((BigInt(`0x${capabilities}`) >> CAP_NET_ADMIN) & 1n) === 1n) return [];
  const { geteuid, getegid, getgroups } = process;
  return [{ uid: geteuid?.() ?? 0, gids: [getegid?.() ?? 0, ...(getgroups?.() ?? [])] }];
}
