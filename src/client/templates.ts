/** Runs in the commands of people. Functions to begin with. */
import { cp, mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { PROJECT_ROOT } from '../images/project.ts';
import { hasCode } from '../storage/error-code.ts';
import { badInput } from './client-error.ts';

const TEMPLATES = join(PROJECT_ROOT, 'resources', 'templates');

/** By name, with what each is. */
export const TEMPLATE_NAMES = ['node', 'python', 'typescript-web', 'streaming'] as const;
export type TemplateName = (typeof TEMPLATE_NAMES)[number];

/**
 * Copies a template into a directory that is new or empty.
 * @returns names of the files.
 * @throws ClientError if something is there: nothing is ever overwritten.
 */
export async function copyTemplate(template: TemplateName, directory: string): Promise<readonly string[]> {
  const place = resolve(directory);
  const there = await readdir(place).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return [];
    return badInput(`${directory} is there, and is no directory; name another one`, error);
  });
  if (there.length > 0) badInput(`${directory} is not empty; name a new directory`);
  const from = join(TEMPLATES, template);
  await mkdir(place, { recursive: true }).catch((error: unknown) =>
    badInput(`${directory} cannot be made; name another one`, error),
  );
  await cp(from, place, { recursive: true });
  const entries = await readdir(place, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .sort();
}
