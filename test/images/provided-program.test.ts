import assert from 'node:assert/strict';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { stageApp } from '../../src/images/app-stage.ts';
import { makeApp, temporaryDirectory } from './temporary.ts';

/** An ELF header of 64 bits, little-endian, and no segments. */
function elf(machine: number): Buffer {
  const header = Buffer.alloc(64);
  header.write('\x7fELF', 'latin1');
  header.set([2, 1, 1], 4);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(machine, 18);
  return header;
}

const SCRIPT = '#!/bin/sh\n';

interface Case {
  readonly name: string;
  readonly content: string | Buffer | null;
  readonly mode?: number;
  readonly layer?: string | Buffer;
  /** Null: it is fine. */
  readonly refused: RegExp | null;
}

const CASES: readonly Case[] = [
  { name: 'a script', content: SCRIPT, refused: null },
  { name: 'a program', content: elf(62), refused: null },
  { name: 'a layer that has it', content: null, layer: SCRIPT, refused: null },
  { name: 'its own before that of a layer', content: SCRIPT, layer: elf(183), refused: null },
  { name: 'nothing', content: null, refused: /has no bootstrap; put the program/ },
  { name: 'no right to run', content: SCRIPT, mode: 0o644, refused: /bootstrap is not executable; chmod \+x/ },
  { name: 'a program for ARM', content: elf(183), refused: /is a program for arm64; build it for Linux on x86-64/ },
  { name: 'a layer for ARM', content: null, layer: elf(183), refused: /is a program for arm64/ },
  { name: 'the line ends of Windows', content: '#!/bin/sh\r\n', refused: /carriage return .* \(LF\)/ },
  { name: 'a text', content: 'echo hello\n', refused: /neither a program of Linux nor a script/ },
  { name: 'an empty file', content: '', refused: /neither a program of Linux nor a script/ },
  { name: 'a program of macOS', content: Buffer.from('cffaedfe07000001', 'hex'), refused: /GOOS=linux/ },
];

async function place(content: string | Buffer | null | undefined, mode = 0o755): Promise<string> {
  const directory = await makeApp([['data.txt', 'data']]);
  if (content === null || content === undefined) return directory;
  await writeFile(join(directory, 'bootstrap'), content);
  await chmod(join(directory, 'bootstrap'), mode);
  return directory;
}

describe('the program of a function for the Runtime API is looked at when it is staged', () => {
  for (const { name, content, mode, layer, refused } of CASES) {
    test(name, async () => {
      const directory = await place(content, mode);
      const staged = stageApp(directory, {
        cacheDirectory: await temporaryDirectory(),
        runtime: 'provided',
        ...(layer !== undefined && { layers: [await place(layer)] }),
      });
      if (refused === null) await staged;
      else await assert.rejects(staged, { name: 'TreeError', message: refused });
    });
  }

  test('a directory is none, and a link is followed by the guest', async () => {
    const [directory, link] = [await place(null), await place(null)];
    await mkdir(join(directory, 'bootstrap'));
    await writeFile(join(directory, 'bootstrap', 'main'), '');
    await symlink('data.txt', join(link, 'bootstrap'));
    const options = { cacheDirectory: await temporaryDirectory(), runtime: 'provided' } as const;
    await assert.rejects(stageApp(directory, options), { message: /bootstrap is a directory/ });
    await stageApp(link, options);
  });

  test('a function of another language may have such a file', async () => {
    const directory = await place('', 0o644);
    const cacheDirectory = await temporaryDirectory();
    await stageApp(directory, { cacheDirectory, runtime: 'nodejs' });
    await assert.rejects(stageApp(directory, { cacheDirectory, runtime: 'provided' }), { name: 'TreeError' });
  });
});
