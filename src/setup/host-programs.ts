/** Runs in `npm start`, `npm test` and `npm run bench`. The runtimes that the `process` driver starts and that are compiled. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { digestProjectFiles, PROJECT_ROOT } from '../images/project.ts';
import { compileRuntimeApi, listRuntimeApi } from '../images/runtime-api.ts';
import { ToolError } from '../images/tool.ts';
import { RUNTIME_API_ON_HOST } from '../protocol/runtimes.ts';
import { sha256Json } from '../storage/digest.ts';

/** Compiles the server of the Runtime API, unless it is there. Without gcc it is left out: other functions need none of it. */
export async function buildHostPrograms(): Promise<void> {
  const program = join(PROJECT_ROOT, RUNTIME_API_ON_HOST);
  const stamp = `${program}.built-from`;
  const wanted = sha256Json(await digestProjectFiles(await listRuntimeApi()));
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return;
  const fresh = `${program}.${process.pid}`;
  await mkdir(dirname(program), { recursive: true });
  try {
    await compileRuntimeApi(fresh);
    // One that runs is not written to.
    await rename(fresh, program);
    await writeFile(stamp, wanted);
  } catch (error) {
    await rm(fresh, { force: true });
    if (!(error instanceof ToolError)) throw error;
    process.stderr.write(`the Runtime API is not offered to functions without a VM: ${error.message}\n`);
  }
}
