/**
 * Runs in the builder and in `npm start`. Programs of the guest, run on the host while an image is made: through their own
 * loader and libraries, as the host's may be of another version or absent.
 */
import { join } from 'node:path';
import { runTool, type ToolOptions } from './tool.ts';

const LOADER = join('usr', 'lib64', 'ld-linux-x86-64.so.2');
const LIBRARIES = join('usr', 'lib', 'x86_64-linux-gnu');

/**
 * Runs `program` of the unpacked root file system `root` to its end and returns its stdout. It sees the files of the host.
 *
 * @param program path from the root, without a leading slash.
 * @throws ToolError with the last lines that it printed.
 */
export async function runGuestProgram(
  root: string,
  program: string,
  argv: readonly string[],
  options: ToolOptions = {},
): Promise<Buffer> {
  const started = ['--library-path', join(root, LIBRARIES), join(root, program), ...argv];
  return runTool(join(root, LOADER), started, options);
}
