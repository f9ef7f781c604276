/** Runs in `snapctr doctor`. Whether VMs can be jailed as the configuration asks. */
import { statfsSync, statSync } from 'node:fs';
import { LARGEST_UID, type JailerSettings } from '../../protocol/vmm-settings.ts';
import { ok, skipped, warning, type Check } from '../check.ts';
import { readHostFile, type DoctorContext } from '../context.ts';
import { nearestExisting } from './file-system.ts';
import { probeFinding } from './kvm.ts';

const MIB = 1024 * 1024;

export const jailerCheck: Check = {
  name: 'jailer',
  async run(context) {
    const { jailer } = context.subject.settings;
    if (jailer === null) return skipped('not asked for: VMMs run as the user who starts snapctr');
    const { installation } = await context.probes.firecrackerSearch();
    const proof = await context.probes.probe('firecracker');
    if (!proof.usable || installation === null) return probeFinding(proof);
    return (
      uidFault(context, jailer) ??
      placeFault(context, jailer) ??
      ok(`${installation.jailerPath ?? ''}, jails in ${jailer.chrootBase}: ${proof.finding}`)
    );
  },
};

/** Each VM is to be a user that nobody else is. */
function uidFault(context: DoctorContext, { firstUid, uidCount }: JailerSettings): ReturnType<typeof warning> | null {
  const lastUid = firstUid + uidCount - 1;
  const range = `${firstUid} to ${lastUid}`;
  if (firstUid < 1 || lastUid > LARGEST_UID) {
    return warning(`users of VMs would be ${range}`, `choose numbers from 1 to ${LARGEST_UID}`);
  }
  const taken = readHostFile(context, '/etc/passwd')
    .split('\n')
    .map((line) => line.split(':'))
    .filter(([, , uid]) => uid !== undefined && uid !== '' && Number(uid) >= firstUid && Number(uid) <= lastUid)
    .map(([name = '']) => name);
  if (taken.length === 0) return null;
  return warning(
    `users of VMs are ${range}, but the host has ${taken.join(', ')} there`,
    'choose a range without users of the host',
  );
}

/** Files come into a jail as links; those of other file systems are copied to the jails' own, and linked there. */
function placeFault({ subject }: DoctorContext, { chrootBase }: JailerSettings): ReturnType<typeof warning> | null {
  const place = statSync(nearestExisting(chrootBase));
  const files = [subject.guest?.kernelPath, subject.guest?.initrdPath, subject.snapshotDirectory];
  const elsewhere = [...files, ...subject.rootFileSystems.map(({ path }) => path)]
    .filter((path) => typeof path === 'string')
    .map((path) => ({ path, stats: statSync(nearestExisting(path)) }))
    .filter(({ stats }) => stats.dev !== place.dev);
  if (elsewhere.length === 0) return null;
  const bytes = elsewhere.reduce((sum, { stats }) => sum + (stats.isFile() ? stats.size : 0), 0);
  const { bavail, bsize } = statfsSync(nearestExisting(chrootBase));
  const paths = elsewhere.map(({ path }) => path).join(', ');
  const detail = `jails in ${chrootBase} are on another file system than ${paths}: files are copied there, once for each start`;
  const remedy = 'put jails, images and snapshots on one file system';
  if (bytes <= bavail * bsize) return warning(detail, remedy);
  const [neededMib, freeMib] = [bytes, bavail * bsize].map((size) => Math.ceil(size / MIB));
  return warning(
    `${detail}; the images alone take ${neededMib} MiB, and ${freeMib} are free: not every function will start`,
    remedy,
  );
}
