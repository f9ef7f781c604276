/** Runs in `snapctr workload`. A trace as files that a controller runs: requests, functions, and the code of them all. */
import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { stringify } from 'yaml';
import { makeDirectory } from '../storage/make-directory.ts';
import { requestLine, type Trace } from './trace.ts';

/** It computes for as long as it is told to. */
const HANDLER = `import time


def handle(request):
    until = time.process_time() + request.get("run_ms", 0) / 1000
    while time.process_time() < until:
        pass
    return {"ran_ms": request.get("run_ms", 0)}
`;
/** Requests that are written together. */
const LINES_AT_ONCE = 1000;

export interface WorkloadFiles {
  readonly directory: string;
  /** Kernel and root file systems. */
  readonly imagesDirectory: string;
}

/**
 * Writes `requests.json`, `functions.yaml`, `controller.yaml` and `function/` into a directory, which is made.
 *
 * @throws NodeJS.ErrnoException
 */
export async function writeWorkload(
  { functions, arrivals }: Trace,
  { directory, imagesDirectory }: WorkloadFiles,
): Promise<void> {
  await makeDirectory(join(directory, 'function'));
  await writeFile(join(directory, 'function', 'workload.py'), HANDLER);
  const list = functions.map(({ name, memoryMib }) => ({
    name,
    runtime: 'python3',
    appfs: 'function',
    memory: memoryMib,
  }));
  await writeFile(join(directory, 'functions.yaml'), stringify(list));
  const controller = {
    kernel_path: join(imagesDirectory, 'vmlinux'),
    runtimefs_dir: join(imagesDirectory, 'runtimefs'),
    snapshot_dir: join(imagesDirectory, 'snapshots'),
    appfs_dir: '.',
    function_config: 'functions.yaml',
  };
  await writeFile(join(directory, 'controller.yaml'), stringify(controller));
  const lines = function* (): Generator<string> {
    for (let i = 0; i < arrivals.length; i += LINES_AT_ONCE) {
      yield arrivals
        .slice(i, i + LINES_AT_ONCE)
        .map((arrival) => `${requestLine(arrival)}\n`)
        .join('');
    }
  };
  await pipeline(Readable.from(lines()), createWriteStream(join(directory, 'requests.json')));
}
