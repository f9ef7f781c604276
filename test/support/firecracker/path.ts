/** Runs in tests. */
import { delimiter, join } from 'node:path';
import { installFakeFirecracker } from './install.ts';

/** A PATH on which the fakes come first. @param cache keeps them from run to run. */
export async function pathWithFakeFirecracker(cache: string): Promise<string> {
  const directory = join(cache, 'fake-firecracker-bin');
  await installFakeFirecracker(directory);
  return [directory, process.env['PATH'] ?? ''].join(delimiter);
}
