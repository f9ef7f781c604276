/** Runs in the commands of people. Packages of PyPI for a package: wheels for the guest's Python, laid where AWS has them. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { fetchSet, modulesOf } from '../images/app-pypi.ts';
import { guestPython } from '../images/guest-python.ts';
import { readRequirements, REQUIREMENTS_FILE, type Requirements } from '../images/requirements.ts';
import { TreeError } from '../images/tree.ts';
import { badInput } from './client-error.ts';

export const PROJECT_FILE = 'pyproject.toml';

const projectSchema = z.looseObject({
  project: z.looseObject({ dependencies: z.array(z.string()).optional() }).optional(),
  tool: z.looseObject({ poetry: z.looseObject({ dependencies: z.unknown().optional() }).optional() }).optional(),
});

/**
 * What the function needs: the lines of `requirements.txt`, which say more exactly what is wanted, else the dependencies of
 * `pyproject.toml`.
 *
 * @returns null if neither is there.
 * @throws TreeError; ClientError.
 */
export async function wantedOf(directory: string, files: ReadonlySet<string>): Promise<Requirements | null> {
  if (files.has(REQUIREMENTS_FILE)) return readRequirements(directory);
  if (!files.has(PROJECT_FILE)) return null;
  const path = join(directory, PROJECT_FILE);
  const { project, tool } = readProject(path, await readFile(path, 'utf8'));
  if (project?.dependencies === undefined && tool?.poetry?.dependencies !== undefined) {
    return badInput(
      `${path} names its packages for Poetry alone; list them as "dependencies" of [project], or in a ${REQUIREMENTS_FILE}`,
    );
  }
  const lines = Buffer.from((project?.dependencies ?? []).join('\n'));
  try {
    return await readRequirements(directory, () => Promise.resolve(lines));
  } catch (error) {
    if (!(error instanceof TreeError)) throw error;
    const asked = new RegExp(`${REQUIREMENTS_FILE.replace('.', '\\.')}:\\d+`);
    throw new TreeError(error.message.replace(asked, `${PROJECT_FILE}, dependencies`), { cause: error });
  }
}

function readProject(path: string, text: string): z.infer<typeof projectSchema> {
  try {
    const parsed = projectSchema.safeParse(parse(text));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    return badInput(`${path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not as PEP 621 has it'}`);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    return badInput(
      `${path}:${error.line}:${error.column}: ${error.message.split('\n', 1)[0] ?? 'is not TOML'}`,
      error,
    );
  }
}

/**
 * @returns a directory whose files belong at the package's top.
 * @throws ToolError if pip finds no wheels for the guest, or there is no apt to bring pip.
 */
export async function pythonModules(
  wanted: Requirements,
  onProgress: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<string> {
  const set = await fetchSet(wanted, { onProgress, ...(signal && { signal }) });
  return join(set.directory, modulesOf(await guestPython()));
}
