/** Runs in the builder and in `npm start`. Modules of a function, compiled before a guest has to do it at each start. */
import { readdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { withLimit } from '../protocol/abort.ts';
import { runGuestScript, type GuestPython } from './guest-python.ts';

/** Longest that compiling may take, in ms; a module at a time is what takes it. */
const COMPILE_TIMEOUT_MS = 900_000;

/**
 * Compiles the modules below `directory` that are not compiled yet, those of Node packages left out. The same sources give
 * the same bytes.
 *
 * @param shownPath where the guest has a module, given its path from `directory`; stack traces show it.
 * @throws ToolError if the compiler itself ends; a module with errors is left to whoever imports it.
 */
export async function compileModules(
  python: GuestPython,
  directory: string,
  shownPath: (path: string) => string,
  signal?: AbortSignal,
): Promise<void> {
  const tag = `cpython-${python.version.replace('.', '')}`;
  const lines: string[] = [];
  for await (const path of modulesBelow(directory, '')) {
    const absolute = join(directory, path);
    if (path.includes('\n') || existsSync(join(dirname(absolute), '__pycache__', compiledName(path, tag)))) continue;
    lines.push(absolute, shownPath(path));
  }
  if (lines.length === 0) return;
  const stdin = Buffer.from(lines.join('\n'));
  await withLimit(COMPILE_TIMEOUT_MS, signal, (any) =>
    // It reads what strangers wrote: nothing of ours is within its reach that it does not need.
    runGuestScript(python, 'compile_modules.py', [], { stdin, inherit: false, signal: any }),
  );
}

function compiledName(path: string, tag: string): string {
  return `${basename(path, '.py')}.${tag}.pyc`;
}

async function* modulesBelow(root: string, folder: string): AsyncGenerator<string> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  entries.sort((left, right) => (left.name < right.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isFile() && entry.name.endsWith('.py')) yield path;
    else if (entry.isDirectory() && entry.name !== 'node_modules') yield* modulesBelow(root, path);
  }
}
