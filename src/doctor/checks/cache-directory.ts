/** Runs in `snapctr doctor`. Where images of functions, downloads and results of probes are kept: can it be written? */
import { accessSync, constants, statSync } from 'node:fs';
import { CACHE_HELP, cacheDirectory } from '../../storage/cache-directory.ts';
import { ok, problem, type Check } from '../check.ts';
import { nearestExisting } from './file-system.ts';

export const cacheDirectoryCheck: Check = {
  name: 'cache-directory',
  run() {
    const directory = cacheDirectory();
    const existing = nearestExisting(directory);
    if (!statSync(existing).isDirectory())
      return problem(`${existing} is a file; ${directory} cannot be made`, CACHE_HELP);
    try {
      accessSync(existing, constants.W_OK | constants.X_OK);
      return ok(`${directory}${existing === directory ? '' : ' (will be made)'}`);
    } catch {
      const owner = `${existing} belongs to user ${statSync(existing).uid}`;
      return problem(`${directory} cannot be written to: ${owner}`, CACHE_HELP);
    }
  },
};
