/** A controller whose processes tell of their memory and their event loops (`probe.js`). */
import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startController, type RunningController, type Workspace } from '../../test/support/snapctr.ts';

const PROBE = new URL('../probe.js', import.meta.url);
const FEW_LINES_BYTES = 1024;

/** What a process tells each second; sizes in bytes. */
export interface ProbeSample {
  /** `Date.now()`. */
  readonly at: number;
  readonly rss: number;
  readonly heapUsed: number;
  readonly external: number;
  /** What was left of the heap after the last full collection; null before the first. */
  readonly liveBytes: number | null;
  /** The longest time since the last sample in which the event loop was busy with one thing, in ms. */
  readonly pauseMs: number;
}

export type Probed = 'snapctr' | 'firerunner';

export interface ProbedController extends RunningController {
  /** Samples of the process that runs now, oldest first. */
  samples(program: Probed): readonly ProbeSample[];
  /** The last of them; undefined before the first. */
  latest(program: Probed): ProbeSample | undefined;
}

export async function startProbed(
  workspace: Workspace,
  options: Parameters<typeof startController>[1],
): Promise<ProbedController> {
  const directory = join(workspace.directory, 'probe');
  mkdirSync(directory, { recursive: true });
  const controller = await startController(workspace, {
    ...options,
    env: { NODE_OPTIONS: `--import ${fileURLToPath(PROBE)}`, SNAPFAAS_PROBE_DIR: directory, ...options.env },
  });
  /** The lines of the process that was started last. */
  const linesOf = (program: Probed, mostBytes: number): readonly string[] => {
    const paths = readdirSync(directory)
      .filter((name) => name.startsWith(`${program}-`))
      .map((name) => join(directory, name));
    const [newest] = paths.sort((a, b) => statSync(b).birthtimeMs - statSync(a).birthtimeMs);
    return newest === undefined ? [] : readEnd(newest, mostBytes).split('\n').slice(0, -1);
  };
  return {
    ...controller,
    samples: (program) => linesOf(program, Infinity).map(parse),
    latest: (program) => linesOf(program, FEW_LINES_BYTES).slice(-1).map(parse)[0],
  };
}

const parse = (line: string): ProbeSample => JSON.parse(line) as ProbeSample;

function readEnd(path: string, mostBytes: number): string {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, mostBytes));
    readSync(file, bytes, 0, bytes.length, size - bytes.length);
    return bytes.toString();
  } finally {
    closeSync(file);
  }
}
