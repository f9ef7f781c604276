/** Runs in `snapctr doctor`. Whether firerunner finds a place for the sockets of its VMs. It was opened, as firerunner does. */
import { dirname } from 'node:path';
import { ok, problem, type Check } from '../check.ts';

export const runDirectoryCheck: Check = {
  name: 'run-directory',
  run({ runDirectory }) {
    if (!(runDirectory instanceof Error)) return ok(dirname(runDirectory.path));
    return problem(runDirectory.message, 'set SNAPFAAS_RUN_DIR to a short path of a directory of your own');
  },
};
