import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { readElf } from '../../src/images/elf.ts';
import { checkNativeModules } from '../../src/images/native-modules.ts';
import { TreeError } from '../../src/images/tree.ts';
import { temporaryDirectory } from './temporary.ts';

const PYTHON = { root: '/', program: 'python3.11', version: '3.11' };
const GNU = 'x86_64-linux-gnu';

/** A library for the machine of this host that needs libc.so.6, and perhaps others. */
async function library(needed: readonly string[] = []): Promise<string> {
  const directory = await temporaryDirectory();
  for (const name of needed) build(directory, name, []);
  return build(directory, 'made.so', needed);
}

function build(directory: string, name: string, needed: readonly string[]): string {
  const link = needed.map((one) => `-l:${one}`);
  const flags = [
    '-shared',
    '-Wl,--no-as-needed',
    '-o',
    name,
    '-x',
    'c',
    '/dev/null',
    '-x',
    'none',
    '-L.',
    ...link,
    '-lc',
  ];
  execFileSync('gcc', flags, { cwd: directory });
  return join(directory, name);
}

async function tree(files: Readonly<Record<string, string | { readonly copy: string }>>): Promise<string> {
  const root = await temporaryDirectory();
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    if (typeof content === 'string') await writeFile(join(root, path), content);
    else await copyFile(content.copy, join(root, path));
  }
  return root;
}

/** The first bytes of an ELF file for another machine. */
function header(machine: number): string {
  const bytes = Buffer.alloc(64);
  bytes.write('\x7fELF\x02\x01', 'latin1');
  bytes.writeUInt16LE(machine, 18);
  return bytes.toString('latin1');
}

describe('compiled modules of Python', () => {
  test('what a library needs is read from it', async () => {
    assert.deepEqual(await readElf(await library(['libfoo.so.1', 'libbar.so.2'])), {
      machine: 'x86-64',
      isForGuests: true,
      needed: ['libfoo.so.1', 'libbar.so.2', 'libc.so.6'],
    });
  });

  test('whatever a file holds, reading it ends, and damaged ones are told as such', async () => {
    const whole = await library();
    const bytes = await readFile(whole);
    const path = join(await temporaryDirectory(), 'damaged.so');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 1023 }), fc.nat({ max: 255 })), { maxLength: 8 }),
        fc.nat({ max: bytes.length }),
        async (changes, length) => {
          const damaged = Buffer.from(bytes.subarray(0, length));
          for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value;
          await writeFile(path, damaged);
          const facts = await readElf(path);
          assert.ok(facts === null || Array.isArray(facts.needed));
        },
      ),
      { numRuns: 300 },
    );
  });

  const refused: readonly (readonly [path: string, told: RegExp])[] = [
    [`numpy/core/_multiarray.cpython-312-${GNU}.so`, /numpy \(for Python 3\.12, x86_64-linux-gnu\)/],
    [`package/numpy/core/_multiarray.cpython-39-${GNU}.so`, /numpy \(for Python 3\.9, /],
    [`lib/_cffi_backend.cpython-313-${GNU}.so`, /_cffi_backend \(for Python 3\.13, /],
    [`vendor/lib/python3.12/site-packages/lxml/etree.cpython-312-${GNU}.so`, /lxml \(for Python 3\.12, /],
    ['numpy/x.cpython-311-aarch64-linux-gnu.so', /numpy \(for Python 3\.11, aarch64-linux-gnu\)/],
    ['numpy/x.cpython-311-x86_64-linux-musl.so', /numpy \(for Python 3\.11, x86_64-linux-musl\)/],
    ['numpy/x.cpython-311-darwin.so', /numpy \(for Python 3\.11, darwin\)/],
    ['numpy/x.cp311-win_amd64.pyd', /numpy \(for Python 3\.11, win_amd64\)/],
    ['x.pyd', /x\.pyd \(for /],
  ];
  for (const [path, told] of refused) {
    test(`refused: ${path}`, async () => {
      const root = await tree({ [path]: { copy: await library() } });
      await assert.rejects(checkNativeModules(root, PYTHON), (error: Error) => {
        assert.ok(error instanceof TreeError);
        assert.match(error.message, told);
        assert.match(
          error.message,
          /the function runs in Python 3\.11 on x86_64-linux-gnu; name the packages in a requirements\.txt/,
        );
        return true;
      });
    });
  }

  test('libraries for other machines are refused, whatever their name', async () => {
    for (const [name, machine] of [
      ['a.so', 183],
      ['_rust.abi3.so', 183],
      ['a.so', 40],
    ] as const) {
      const root = await temporaryDirectory();
      await writeFile(join(root, name), Buffer.from(header(machine), 'latin1'));
      await assert.rejects(checkNativeModules(root, PYTHON), /\(for arm(64)?\)/);
    }
    const mac = await tree({ 'cryptography/_rust.abi3.so': '\xcf\xfa\xed\xfe' });
    await assert.rejects(checkNativeModules(mac, PYTHON), /cryptography \(for another system\)/);
  });

  const accepted: readonly string[] = [
    `numpy/x.cpython-311-${GNU}.so`,
    'cryptography/_rust.abi3.so',
    'plain.so',
    'libs/libthing.so.1',
    `node_modules/x/x.cpython-312-${GNU}.so`,
    `.snapfaas/root/usr/lib/python3/dist-packages/x/x.cpython-312-${GNU}.so`,
  ];
  for (const path of accepted) {
    test(`accepted: ${path}`, async () => {
      assert.deepEqual(await checkNativeModules(await tree({ [path]: { copy: await library() } }), PYTHON), []);
    });
  }

  test('one variant that fits is enough, and a script of the linker is no library', async () => {
    const copy = await library();
    const root = await tree({
      [`many/x.cpython-312-${GNU}.so`]: { copy },
      [`many/x.cpython-311-${GNU}.so`]: { copy },
      'many/x.cp311-win_amd64.pyd': '',
      'libc.so': 'GROUP ( /lib/libc.so.6 )',
    });
    assert.deepEqual(await checkNativeModules(root, PYTHON), []);
  });

  test('a package whose sources are beside its compiled modules runs by those, with a note', async () => {
    const root = await tree({
      [`normalizer/md.cpython-312-${GNU}.so`]: { copy: await library() },
      'normalizer/md.py': '',
    });
    assert.deepEqual(await checkNativeModules(root, PYTHON), [
      'compiled modules of normalizer (for Python 3.12, x86_64-linux-gnu) are not used, their sources are: ' +
        'the function runs in Python 3.11 on x86_64-linux-gnu',
    ]);
  });

  test('a library that nothing brings is told with who needs it', async () => {
    const copy = await library(['libGL.so.1', 'libbrought.so.2']);
    const root = await tree({ 'cv2/cv2.abi3.so': { copy }, 'cv2.libs/libbrought.so.2': { copy: await library() } });
    assert.deepEqual(await checkNativeModules(root, { ...PYTHON, root: await tree({ 'usr/lib64/libc.so.6': '' }) }), [
      'libraries are missing that compiled modules need: libGL.so.1 (cv2/cv2.abi3.so); name the Debian packages that have ' +
        'them in debian-packages.txt',
    ]);
  });
});
