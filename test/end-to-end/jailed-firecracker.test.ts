/** The contract and the faults with every VM in a jail. */
import { rmSync } from 'node:fs';
import { after, test } from 'node:test';
import { makeChrootBase, untilNothingIsLeftIn } from '../firerunner/firecracker/jails.ts';
import { contract } from './contract.ts';
import { faults } from './faults.ts';

if (process.getuid?.() !== 0) {
  test('every VM in a jail', { skip: 'jails need root' }, () => undefined);
} else {
  const base = makeChrootBase();
  const jailer = `jailer: {uid_range: 300000-300099, chroot_base: ${base}}`;
  after(async () => {
    await untilNothingIsLeftIn(base);
    rmSync(base, { recursive: true });
  });
  contract('fake-firecracker', 'restored', ['firecracker: {prestarted: 2}', jailer]);
  faults('fake-firecracker', ['firecracker: {prestarted: 0}', jailer]);
}
