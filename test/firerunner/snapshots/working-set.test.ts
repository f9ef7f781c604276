import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mappingOf, readAhead, touchedPages } from '../../../src/firerunner/snapshots/working-set.ts';

const PAGE_BYTES = 4096;
const PAGES = 4096;

/** Maps the file of its first argument as a VMM does, writes to the pages of the others, and waits. */
const TOUCHER = `
import mmap, sys
file = open(sys.argv[1], 'r+b')
memory = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE)
for page in map(int, sys.argv[2:]):
    memory[page * 4096] = 1
print('ready', flush=True)
sys.stdin.read()
`;

const skip = process.platform === 'linux' ? false : 'page tables are read from /proc';

test('working set: the pages a process has touched, small gaps included', { skip, timeout: 20_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-pages-'));
  const path = join(directory, 'memory');
  const memory = await open(path, 'wx+');
  try {
    await memory.truncate(PAGES * PAGE_BYTES);
    // Far apart: what lies between 100 and 104 is read along, the others are runs of their own.
    const touched = ['0', '100', '104', '2000', '4095'];
    const toucher = spawn('python3', ['-c', TOUCHER, path, ...touched], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(toucher.stdout, 'data');
    const runs = await touchedPages(toucher.pid ?? 0, memory);
    assert.deepEqual(runs, [
      { firstPage: 0, pages: 1 },
      { firstPage: 100, pages: 5 },
      { firstPage: 2000, pages: 1 },
      { firstPage: 4095, pages: 1 },
    ]);
    await readAhead(memory, runs);
    toucher.stdin.end();
    await once(toucher, 'close');
  } finally {
    await memory.close();
    rmSync(directory, { recursive: true });
  }
});

test('working set: a process that does not map the memory has touched nothing', { skip }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-pages-'));
  const memory = await open(join(directory, 'memory'), 'wx+');
  try {
    await memory.truncate(PAGES * PAGE_BYTES);
    assert.deepEqual(await touchedPages(process.pid, memory), []);
  } finally {
    await memory.close();
    rmSync(directory, { recursive: true });
  }
});

test('working set: a file is found among the mappings by its device and its inode', () => {
  const maps = `7f0000000000-7f0000001000 rw-s 00000000 08:02 77                         /other/memory
7f1000000000-7f1000001000 r--p 00000000 00:00 0
7f2000000000-7f2000001000 rw-p 00000000 fe:1003 77                         /srv/some where/memory
7f3000000000-7f3000001000 rw-p 00000000 00:2d 78                         /over/lay/memory (deleted)
`;
  for (const [dev, ino, path, address] of [
    [0x0802, 77, '/x', 0x7f0000000000],
    // Minor numbers over 255 are split.
    [0x10fe03, 77, '/x', null],
    [0x100fe03, 77, '/x', 0x7f2000000000],
    [0x0803, 77, '/x', null],
    [0x0802, 78, '/x', null],
    // A file system that shows different devices.
    [0x0099, 77, '/srv/some where/memory', 0x7f2000000000],
    [0x0099, 76, '/srv/some where/memory', null],
    [0x002d, 78, '/over/lay/memory', 0x7f3000000000],
  ] as const) {
    assert.equal(mappingOf({ dev, ino, path }, maps), address, `device ${dev.toString(16)}, inode ${ino}`);
  }
});
