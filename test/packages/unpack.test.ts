import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import fc from 'fast-check';
import { PackageError, type PackageErrorCode } from '../../src/packages/package-error.ts';
import { unpackPackage } from '../../src/packages/unpack.ts';
import { temporaryDirectory } from '../images/temporary.ts';
import { whyWithout } from '../support/needed-program.ts';
import { makeZip, type ZipEntry } from './zip.ts';

const FILE = { name: 'handler.py', data: 'x' } as const;
const LINK = 0o120777;
const deep = (name: string, times: number): string => Array.from({ length: times }, () => name).join('/');

/** What cannot be unpacked, why, and words of what it is told. */
const REFUSED: readonly (readonly [what: string, zip: Buffer, code: PackageErrorCode, words: RegExp])[] = [
  ['no bytes', Buffer.alloc(0), 'not_a_zip', /not a zip/],
  ['a text', Buffer.from('def handle(): pass\n'.repeat(100)), 'not_a_zip', /not a zip archive, or its end is missing/],
  ['a gzip', Buffer.from('1f8b0800000000000003', 'hex'), 'not_a_zip', /not a zip/],
  ['no entries', makeZip([]), 'empty', /no files/],
  ['directories alone', makeZip([{ name: 'a/' }, { name: './' }]), 'empty', /no files/],
  [
    'a beginning',
    makeZip([FILE, { name: 'b', data: 'y'.repeat(1000), method: 0 }]).subarray(0, 600),
    'not_a_zip',
    /end is missing/,
  ],
  ['the end alone', makeZip([FILE]).subarray(30), 'damaged', /damaged/],
  ['more entries than there are', makeZip([FILE], { entryCount: 2 }), 'damaged', /damaged/],
  ['a password', makeZip([{ ...FILE, flags: 1 }]), 'encrypted', /without a password/],
  ['strong encryption', makeZip([{ ...FILE, flags: 0x41 }]), 'encrypted', /without a password/],
  ...[1, 9, 12, 14, 93, 95, 99].map(
    (method) =>
      [`method ${method}`, makeZip([{ ...FILE, method }]), 'unsupported_compression', /"deflate" or "store"/] as const,
  ),
  ['a wrong checksum', makeZip([{ ...FILE, crc: 1 }]), 'damaged', /checksum/],
  ['a wrong checksum, stored', makeZip([{ ...FILE, crc: 1, method: 0 }]), 'damaged', /checksum/],
  ['too small a size', makeZip([{ ...FILE, data: 'xyz', size: 2 }]), 'damaged', /too many bytes/],
  ['too large a size', makeZip([{ ...FILE, data: 'xyz', size: 4 }]), 'damaged', /not enough bytes/],
  ['a bomb that lies', makeZip([{ ...FILE, data: Buffer.alloc(4 << 20), size: 10 }]), 'damaged', /too many bytes/],
  ['251 MB', makeZip([{ ...FILE, size: 251 << 20 }]), 'too_large', /larger than 250 MB/],
  [
    '250 MB and a byte',
    makeZip([
      { ...FILE, size: 250 << 20 },
      { name: 'b', data: 'x' },
    ]),
    'too_large',
    /larger than 250 MB/,
  ],
  ['contents twice', makeZip([FILE, { name: 'handler.py', sameAs: 0, data: 'x' }]), 'conflict', /there twice/],
  [
    'shared contents',
    makeZip([FILE, { name: 'b', localName: 'handler.py', sameAs: 0, data: 'x' }]),
    'damaged',
    /overlaps/,
  ],
  ['a name that changes', makeZip([{ ...FILE, localName: '/etc/passwd' }]), 'damaged', /another name/],
  ['an entry outside of the file', makeZip([{ ...FILE, offset: 0xfffffff0 }]), 'damaged', /not there/],
  [
    'a name of another encoding',
    makeZip([{ ...FILE, name: Buffer.from('b\xfccher.py', 'latin1') }]),
    'bad_name',
    /UTF-8/,
  ],
  ['NUL', makeZip([{ ...FILE, name: 'a\0.py' }]), 'bad_name', /NUL/],
  ['no name', makeZip([{ ...FILE, name: '' }]), 'bad_name', /without a name/],
  ['a dot', makeZip([{ ...FILE, name: '.' }]), 'bad_name', /without a name/],
  ...['../x', 'a/../../x', '..', 'a/..', 'a/../b'].map(
    (name) => [name, makeZip([{ ...FILE, name }]), 'bad_name', /leads out/] as const,
  ),
  ...['/x', '/etc/passwd', 'C:x', 'c:/x', '//x/y'].map(
    (name) => [name, makeZip([{ ...FILE, name }]), 'bad_name', /absolute/] as const,
  ),
  ...['a\\b', '..\\x', '\\\\host\\x', 'C:\\x'].map(
    (name) => [name, makeZip([{ ...FILE, name }]), 'bad_name', /backslash/] as const,
  ),
  ['a long name', makeZip([{ ...FILE, name: 'ä'.repeat(128) }]), 'bad_name', /more than 255 bytes/],
  ['a long path', makeZip([{ ...FILE, name: deep('x'.repeat(250), 13) }]), 'bad_name', /longer than 3072 bytes/],
  ['a deep path', makeZip([{ ...FILE, name: deep('x', 257) }]), 'bad_name', /256 directories deep/],
  ['a file twice', makeZip([FILE, FILE]), 'conflict', /there twice/],
  ['the same by other words', makeZip([FILE, { name: './handler.py' }]), 'conflict', /there twice/],
  ['a file and a directory', makeZip([{ name: 'a' }, { name: 'a/b' }]), 'conflict', /below a, which is no directory/],
  ['a directory and a file', makeZip([{ name: 'a/b' }, { name: 'a' }]), 'conflict', /both a directory and not one/],
  ['a named directory and a file', makeZip([{ name: 'a/' }, { name: 'a' }]), 'conflict', /there twice/],
  ['a file through a link', makeZip([{ name: 'a', data: 'b', mode: LINK }, { name: 'a/x' }]), 'conflict', /below a/],
  ['a link over a directory', makeZip([{ name: 'a/x' }, { name: 'a', data: 'b', mode: LINK }]), 'conflict', /both/],
  ...['/etc/passwd', '..', '../x', 'b/../../x', 'b/..', '', 'x\0'].map(
    (data) =>
      [`a link to "${data}"`, makeZip([FILE, { name: 'a', data, mode: LINK }]), 'bad_link', /symbolic link/] as const,
  ),
  [
    'a link that is too long',
    makeZip([FILE, { name: 'a', data: 'x'.repeat(4000), mode: LINK }]),
    'bad_link',
    /more than 3072/,
  ],
  ...[0o010644, 0o020644, 0o060644, 0o140644].map(
    (mode) =>
      [`type ${mode.toString(8)}`, makeZip([FILE, { name: 'a', mode }]), 'special_file', /leave it out/] as const,
  ),
  [
    'a hard link',
    makeZip([FILE, { name: 'a', extra: Buffer.concat([Buffer.from([13, 0, 22, 0]), Buffer.alloc(22)]) }]),
    'special_file',
    /hard link/,
  ],
  ['a directory with contents', makeZip([FILE, { name: 'a/', data: 'x' }]), 'damaged', /directory with contents/],
];

describe('function packages', { timeout: 300_000 }, () => {
  let place: string;
  let made = 0;
  before(async () => {
    place = await temporaryDirectory();
  });

  async function unpacked(zip: Buffer, signal?: AbortSignal): Promise<string> {
    made += 1;
    const own = join(place, String(made));
    await mkdir(own);
    const [file, target] = [join(own, 'package.zip'), join(own, 'files')];
    await writeFile(file, zip);
    try {
      await unpackPackage(file, target, signal);
    } catch (error) {
      assert.deepEqual(readdirSync(own), ['package.zip'], 'nothing is left');
      throw error;
    }
    assert.deepEqual(readdirSync(own).sort(), ['files', 'package.zip']);
    return target;
  }

  const modeOf = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8);

  for (const [what, zip, code, words] of REFUSED) {
    test(`refused: ${what.slice(0, 60)}`, async () => {
      await assert.rejects(unpacked(zip), (error) => {
        assert.ok(error instanceof PackageError, String(error));
        assert.match(error.message, words);
        assert.equal(error.code, code);
        return true;
      });
    });
  }

  test('too many entries are refused while they are read', async () => {
    // A count of that size does not fit where the count is without zip64, and none is needed: names are.
    const zip = makeZip(Array.from({ length: 60_000 }, (_, i) => ({ name: `d${i}/`, method: 0 })));
    await assert.rejects(unpacked(zip), { code: 'empty' });
    const { Plan } = await import('../../src/packages/entries.ts');
    const plan = new Plan();
    const { Entry } = (await import('yauzl')).default as unknown as { Entry: new () => object };
    const entry = (i: number): never =>
      Object.assign(new Entry(), {
        ...{ fileNameRaw: Buffer.from(`d${i}/`), extraFields: [], versionMadeBy: 0, externalFileAttributes: 0 },
        ...{ uncompressedSize: 0, compressionMethod: 0, generalPurposeBitFlag: 0 },
      }) as never;
    for (let i = 0; i < 131_072; i += 1) plan.add(entry(i));
    assert.throws(() => plan.add(entry(131_072)), { code: 'too_many_entries' });
  });

  test('modes are kept, but for set-uid and the like; where there are none they are usual ones', async () => {
    const files = await unpacked(
      makeZip([
        { name: 'run', mode: 0o106755 },
        { name: 'plain', mode: 0o100640 },
        { name: 'secret', mode: 0o100000 },
        { name: 'd/', mode: 0o041777 },
        { name: 'windows', mode: 0, host: 0 },
        { name: 'w/', mode: 0, host: 0, dosAttributes: 0x10 },
        { name: 'implied/x', mode: 0o100600 },
      ]),
    );
    const modes = Object.fromEntries(readdirSync(files).map((name) => [name, modeOf(join(files, name))]));
    const expected = { run: '755', plain: '640', secret: '644', d: '777', windows: '644', w: '755', implied: '755' };
    assert.deepEqual(modes, expected);
    assert.equal(modeOf(files), '755');
  });

  test('links that stay inside are made, also to what is not there', async () => {
    const links = { 'lib/libx.so': 'libx.so.1', 'bin/tool': '../lib/tool', gone: 'nowhere', here: '.' };
    const entries = Object.entries(links).map(([name, data]) => ({ name, data, mode: LINK }));
    const files = await unpacked(makeZip([...entries, { name: 'lib/tool', data: 'x' }]));
    for (const [name, target] of Object.entries(links)) assert.equal(readlinkSync(join(files, name)), target);
    assert.equal(readFileSync(join(files, 'bin/tool'), 'utf8'), 'x');
  });

  const script =
    'import sys, zipfile, os\n' +
    'z = zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED)\n' +
    'for p in ["grüße.txt", "pkg/sub/large.bin", "run.sh"]: z.write(p)\n' +
    'z.close()';
  for (const [program, argv, hasLink] of [
    ['python3', (file: string) => ['-c', script, file], false],
    ['zip', (file: string) => ['-qry', file, '.'], true],
  ] as const) {
    test(`what ${program} makes is unpacked as it was`, { skip: whyWithout(program, program) }, async () => {
      const source = join(place, `source-${program}`);
      await mkdir(join(source, 'pkg/sub'), { recursive: true });
      await writeFile(join(source, 'grüße.txt'), 'ä');
      await writeFile(join(source, 'pkg/sub/large.bin'), Buffer.alloc(3_000_000, 'abc'));
      await writeFile(join(source, 'run.sh'), '#!/bin/sh\n', { mode: 0o755 });
      await symlink('pkg/sub', join(source, 'link'));
      const file = join(place, `${program}.zip`);
      execFileSync(program, argv(file), { cwd: source });
      const files = await unpacked(readFileSync(file));
      assert.equal(readFileSync(join(files, 'grüße.txt'), 'utf8'), 'ä');
      assert.ok(readFileSync(join(files, 'pkg/sub/large.bin')).equals(Buffer.alloc(3_000_000, 'abc')));
      assert.equal(modeOf(join(files, 'run.sh')), '755');
      if (hasLink) assert.equal(readlinkSync(join(files, 'link')), 'pkg/sub');
    });
  }

  test('a signal ends it, and nothing is left', async () => {
    const off = new AbortController();
    off.abort(new Error('not wanted'));
    await assert.rejects(unpacked(makeZip([FILE]), off.signal), { name: 'AbortError' });
  });

  test('whatever is in a package comes out, or nothing does', async () => {
    const segment = fc.constantFrom('a', 'b', '..', '.', 'ü', '');
    const entry = fc.record({
      name: fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
      data: fc.constantFrom('', 'a', '../a', 'b/a', '../../x'),
      mode: fc.constantFrom(0o100644, LINK, 0o040755, 0),
      method: fc.constantFrom(0, 8),
    });
    const run = async (entries: readonly ZipEntry[]): Promise<void> => {
      let files: string;
      try {
        files = await unpacked(makeZip(entries));
      } catch (error) {
        assert.ok(error instanceof PackageError, String(error));
        return;
      }
      const regular = entries.filter(
        ({ name, mode }) => mode !== LINK && mode !== 0o040755 && !String(name).endsWith('/'),
      );
      for (const { name, data } of regular) assert.equal(readFileSync(join(files, String(name)), 'utf8'), data);
    };
    await fc.assert(fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 4 }), run), { numRuns: 150 });
  });

  test('any change of a byte gives a package error, or what was put in', async () => {
    const zip = makeZip([
      FILE,
      { name: 'd/b.txt', data: 'hello '.repeat(50) },
      { name: 'l', data: 'd/b.txt', mode: LINK },
    ]);
    const change = fc.record({ at: fc.nat(zip.length - 1), to: fc.nat(255), cut: fc.nat(zip.length) });
    const run = async ({ at, to, cut }: { at: number; to: number; cut: number }): Promise<void> => {
      const changed = Buffer.from(zip);
      changed[at] = to;
      for (const bytes of [changed, changed.subarray(0, cut)]) {
        await unpacked(bytes).catch((error: unknown) => assert.ok(error instanceof PackageError, String(error)));
      }
    };
    await fc.assert(fc.asyncProperty(change, run), { numRuns: 300 });
  });
});
