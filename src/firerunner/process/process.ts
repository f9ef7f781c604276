/** Runs in firerunner. The `process` driver among the VMMs: it is there wherever this program is, and proves nothing. */
import { ASKED_FOR, type Vmm } from '../vmm.ts';
import { processDriver } from './driver.ts';

export const processes: Vmm = {
  title: 'the process driver',
  on: () => ({
    find: () => Promise.resolve(ASKED_FOR),
    check: () => Promise.resolve(ASKED_FOR),
    probe: () => Promise.resolve(ASKED_FOR),
    open: () => Promise.resolve(processDriver()),
    close: () => Promise.resolve(),
  }),
};
