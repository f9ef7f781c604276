/** Runs in the builder. The program of a function for the Runtime API: whether guests can start it, before one tries to. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { PROVIDED_PROGRAM } from '../protocol/runtimes.ts';
import { readElf } from './elf.ts';
import { TreeError, type TreeEntry } from './tree.ts';

/** What a first line may have, as the kernel reads it. */
const FIRST_LINE_BYTES = 256;
const HOW = 'build it for Linux on x86-64, as with GOOS=linux GOARCH=amd64';

/** A directory with what was read of it; layers come after the function's own files, the last one on top. */
export interface Place {
  readonly directory: string;
  readonly entries: readonly TreeEntry[];
}

/** @throws TreeError that says what to change. */
export async function checkProvidedProgram(own: Place, layers: readonly Place[]): Promise<void> {
  const found = findProgram([own, ...layers.toReversed()]);
  if (found === null) {
    const where = layers.length === 0 ? own.directory : `neither ${own.directory} nor a layer`;
    throw new TreeError(
      `${where} has ${layers.length === 0 ? 'no' : 'a'} ${PROVIDED_PROGRAM}; put the program that is to be started there, ` +
        'an executable file of this name, and not into a directory of it',
    );
  }
  const { path, entry } = found;
  if (entry.type === 'symlink') return;
  if (entry.type === 'directory')
    throw new TreeError(`${path} is a directory; the function's program has to be a file`);
  if (!entry.executable) throw new TreeError(`${path} is not executable; chmod +x it, before it is packed`);
  const elf = await readElf(path);
  if (elf === null) return checkScript(path);
  if (!elf.isForGuests) throw new TreeError(`${path} is a program for ${elf.machine}; ${HOW}`);
}

function findProgram(places: readonly Place[]): { readonly path: string; readonly entry: TreeEntry } | null {
  for (const { directory, entries } of places) {
    const entry = entries.find(({ path }) => path === PROVIDED_PROGRAM);
    if (entry !== undefined) return { path: join(directory, PROVIDED_PROGRAM), entry };
  }
  return null;
}

async function checkScript(path: string): Promise<void> {
  const line = await firstLine(path);
  if (!line.startsWith('#!')) {
    throw new TreeError(`${path} is neither a program of Linux nor a script; ${HOW}, or begin a script with #!/bin/sh`);
  }
  if (line.endsWith('\r')) {
    throw new TreeError(`${path} has a carriage return behind its first line; save it with the line ends of Unix (LF)`);
  }
}

async function firstLine(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(FIRST_LINE_BYTES);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return buffer.toString('latin1', 0, bytesRead).split('\n', 1)[0] ?? '';
  } finally {
    await file.close();
  }
}
