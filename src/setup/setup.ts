/**
 * Runs in `npm start`, `npm test`, and `npm run bench`, `faults`, `soak` and `fuzz`. What they do after the build:
 *
 * ```
 *   Debian packages ──▶ images ──▶ the program
 *   \______ not with --vmm process _____/
 * ```
 *
 * Each step looks at what is there first; on a host that is set up, both cost less than a second.
 */
import { buildImages, wantedImages } from '../images/build.ts';
import { progressOn, type Progress } from '../images/progress.ts';
import { DEFAULT_IMAGES_DIRECTORY, MissingFileError } from '../images/project.ts';
import { ToolError } from '../images/tool.ts';
import { messageOf } from '../protocol/errors.ts';
import { VMM_NAMES, VMMS } from '../protocol/vmms.ts';
import { DirectoryError } from '../storage/make-directory.ts';
import { buildHostPrograms } from './host-programs.ts';
import { ensurePackages, refreshPackageLists, SetupError } from './host-packages.ts';
import { runBench, runFuzz, runTests } from './test-runner.ts';
import { runController } from './controller.ts';

const MODES = ['start', 'test', 'bench', 'faults', 'soak', 'fuzz'] as const;
export type Mode = (typeof MODES)[number];

/** As shells have it for an end by SIGINT. */
const EXIT_INTERRUPTED = 130;

/** What to do when the host cannot run virtual machines. */
const WITHOUT_VMS =
  'Without virtual machines SnapFaaS runs all the same, isolating nothing: npm start -- --vmm process';

/**
 * Sets up and runs a mode.
 *
 * @param argv mode, then arguments for its program; a `--` between them is skipped.
 * @returns the exit status: that of the program, or 1 if the setting up failed, 2 if the mode is unknown.
 */
export async function runSetup(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  const mode = MODES.find((one) => one === name);
  if (mode === undefined) {
    process.stderr.write(`expected a mode (${MODES.join(', ')}), got "${name ?? ''}"\n`);
    return 2;
  }
  const args = rest[0] === '--' ? rest.slice(1) : rest;
  // While something is set up: a step that shows its progress would take the signal for itself, and end well.
  const interrupted = (): never => process.exit(EXIT_INTERRUPTED);
  process.once('SIGINT', interrupted);
  try {
    if (!wantsProcessDriver(args)) await prepareHost(mode, progressOn(process.stderr));
    await buildHostPrograms();
  } catch (error) {
    process.stderr.write(`\n${failureText(error)}\n\n${WITHOUT_VMS}\n`);
    return 1;
  } finally {
    process.off('SIGINT', interrupted);
  }
  switch (mode) {
    case 'start':
      return runController(args);
    case 'test':
      return runTests(args);
    case 'bench':
    case 'faults':
    case 'soak':
      return runBench(mode, args);
    case 'fuzz':
      return runFuzz(args);
  }
}

/** `--vmm process` or `--vmm=process`: no virtual machines, so nothing to prepare. */
export function wantsProcessDriver(args: readonly string[]): boolean {
  return VMM_NAMES.filter((name) => !VMMS[name].isolates).some((name) =>
    args.some((arg, index) => arg === `--vmm=${name}` || (arg === '--vmm' && args[index + 1] === name)),
  );
}

async function prepareHost(mode: Mode, progress: Progress): Promise<void> {
  await ensurePackages(mode, progress);
  const build = { directory: DEFAULT_IMAGES_DIRECTORY, progress };
  const names = wantedImages(DEFAULT_IMAGES_DIRECTORY);
  try {
    await buildImages(names, build);
  } catch (error) {
    // apt's lists are missing or name versions that the mirror has replaced.
    if (!(error instanceof ToolError) || error.command !== 'apt-get' || error.missing) throw error;
    await refreshPackageLists(progress);
    await buildImages(names, build);
  }
}

/** Our own errors say enough; of others the stack tells where to look. */
function failureText(error: unknown): string {
  const told = [SetupError, ToolError, MissingFileError, DirectoryError].some((kind) => error instanceof kind);
  if (told) return messageOf(error);
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
