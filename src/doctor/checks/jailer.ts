/** Runs in `snapctr doctor`. Whether VMs can be jailed as the configuration asks. */
import { statSync } from 'node:fs';
import type { JailerSettings } from '../../protocol/runner.ts';
import { ok, skipped, warning, type Check } from '../check.ts';
import { readHostFile, type DoctorContext } from '../context.ts';
import { nearestExisting } from './file-system.ts';
import { verdictFinding } from './kvm.ts';

/** Greatest user number that a process can have; the one above it means "none". */
const GREATEST_UID = 2 ** 32 - 2;

export const jailerCheck: Check = {
  name: 'jailer',
  async run(context) {
    const { jailer } = context.subject.settings;
    if (jailer === null) return skipped('not asked for: VMMs run as the user who starts snapctr');
    const { installation } = await context.proofs.firecrackerSearch();
    const proof = await context.proofs.firecracker();
    if (!proof.usable || installation === null) return verdictFinding(proof);
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
  if (firstUid < 1 || lastUid > GREATEST_UID) {
    return warning(`users of VMs would be ${range}`, `choose numbers from 1 to ${GREATEST_UID}`);
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
  const deviceOf = (path: string): number => statSync(nearestExisting(path)).dev;
  const files = [subject.guest?.kernelPath, subject.guest?.initrdPath, subject.snapshotDirectory];
  const paths = [...files, ...subject.rootFileSystems.map(({ path }) => path)].filter(
    (path) => typeof path === 'string',
  );
  const elsewhere = paths.filter((path) => deviceOf(path) !== deviceOf(chrootBase));
  if (elsewhere.length === 0) return null;
  return warning(
    `jails in ${chrootBase} are on another file system than ${elsewhere.join(', ')}: files are copied there, once for each start`,
    'put jails, images and snapshots on one file system',
  );
}
