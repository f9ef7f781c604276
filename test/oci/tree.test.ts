/** Layers over each other, as tars made here: what comes of them, and what is refused. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ImageError } from '../../src/oci/image-error.ts';
import { isDirectory, Tree, type Child } from '../../src/oci/tree.ts';
import { placeTree, unpackLayers, type Unpacked } from '../../src/oci/unpack.ts';
import { header, makeTar, padded, pax, type TarFile } from '../support/container-images.ts';

type Layer = readonly (TarFile | Buffer)[];

const live = new AbortController().signal;

async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-oci-'));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function unpackTars(tars: readonly Buffer[], directory: string): Promise<Unpacked> {
  const sources = tars.map((tar, index) => ({
    name: `layer ${index + 1}`,
    // In small pieces: nothing may hang on where they end.
    open: async function* (): AsyncGenerator<Buffer> {
      for (let at = 0; at < tar.length; at += 700) yield await Promise.resolve(tar.subarray(at, at + 700));
    },
  }));
  return unpackLayers(sources, directory, live);
}

/** By path: a file's content, a link's target behind an arrow, `/` for a directory. */
async function merged(...layers: readonly Layer[]): Promise<Record<string, string>> {
  return inDirectory(async (directory) => {
    const { tree } = await unpackTars(layers.map(makeTar), directory);
    const all: Record<string, string> = {};
    const visit = (child: Child, path: string): void => {
      if (isDirectory(child)) {
        if (path !== '') all[path] = '/';
        for (const [name, inner] of child.children) visit(inner, path === '' ? name : `${path}/${name}`);
      } else {
        const { content } = child.inode;
        all[path] = 'target' in content ? `-> ${content.target}` : readFileSync(content.file, 'utf8');
      }
    };
    visit(tree.root, '');
    return all;
  });
}

const file = (path: string, content = path): TarFile => ({ path, content });
const directory = (path: string): TarFile => ({ path, type: '5' });
const symlink = (path: string, target: string): TarFile => ({ path, type: '2', target });
const hardlink = (path: string, target: string): TarFile => ({ path, type: '1', target });

describe('layers of a container image', () => {
  const CASES: readonly (readonly [title: string, layers: readonly Layer[], result: Record<string, string>])[] = [
    ['a file takes the place of one below it', [[file('a', '1')], [file('a', '2')]], { a: '2' }],
    ['a whiteout takes a file away', [[file('a'), file('b')], [file('.wh.a')]], { b: 'b' }],
    ['a whiteout takes a directory away', [[file('d/a'), file('b')], [file('.wh.d')]], { b: 'b' }],
    ['a whiteout of what is not there does nothing', [[file('b')], [file('.wh.a'), file('x/.wh.a')]], { b: 'b' }],
    [
      'an opaque directory keeps what its own layer brings, before and after it',
      [
        [file('d/old'), file('d/e/old')],
        [file('d/new'), file('d/e/new'), file('d/.wh..wh..opq'), file('d/last')],
      ],
      { d: '/', 'd/new': 'd/new', 'd/e': '/', 'd/e/new': 'd/e/new', 'd/last': 'd/last' },
    ],
    [
      'a whiteout does not take what its own layer brings',
      [[file('a', '1')], [file('a', '2'), file('.wh.a')]],
      { a: '2' },
    ],
    [
      'directories are made one',
      [[file('d/a')], [directory('d'), file('d/b')]],
      { d: '/', 'd/a': 'd/a', 'd/b': 'd/b' },
    ],
    ['a file takes the place of a directory', [[file('d/a')], [file('d', 'x')]], { d: 'x' }],
    ['a directory takes the place of a file', [[file('d')], [directory('d')]], { d: '/' }],
    [
      'what is below a link to a directory goes to where it leads',
      [[directory('usr/bin'), symlink('bin', 'usr/bin')], [file('bin/tool')]],
      { usr: '/', 'usr/bin': '/', 'usr/bin/tool': 'bin/tool', bin: '-> usr/bin' },
    ],
    [
      'an absolute link is followed inside the image',
      [[directory('etc'), symlink('conf', '/etc')], [file('conf/passwd', 'own')]],
      { etc: '/', 'etc/passwd': 'own', conf: '-> /etc' },
    ],
    [
      'a link that climbs out ends at the root of the image',
      [[symlink('up', '../../../..')], [file('up/tmp/x', 'own')]],
      { up: '-> ../../../..', tmp: '/', 'tmp/x': 'own' },
    ],
    ['a hard link is another name', [[file('a')], [hardlink('b', 'a'), file('a', 'new')]], { b: 'a', a: 'new' }],
    ['a hard link to itself is nothing', [[file('a'), hardlink('a', 'a')]], { a: 'a' }],
    [
      'devices and pipes are left out',
      [
        [file('dev/null', 'x')],
        [
          { path: 'dev/null', type: '3' },
          { path: 'p', type: '6' },
        ],
      ],
      { dev: '/' },
    ],
    [
      'names in front of which there is a slash or a dot are the same',
      [[file('./a'), file('/b'), directory('./')]],
      { a: './a', b: '/b' },
    ],
    [
      'aufs has names of its own, which mean nothing',
      [[file('a'), directory('.wh..wh.plnk'), file('.wh..wh.aufs')]],
      { a: 'a' },
    ],
    [
      'long names come by PAX',
      [[file(`${'d'.repeat(90)}/${'n'.repeat(200)}`, 'x')]],
      { ['d'.repeat(90)]: '/', [`${'d'.repeat(90)}/${'n'.repeat(200)}`]: 'x' },
    ],
    ['a PAX header for all is for all', [[pax({ path: 'é' }), file('ignored', 'x')]], { é: 'x' }],
  ];
  for (const [title, layers, result] of CASES) {
    test(title, async () => assert.deepEqual(await merged(...layers), result));
  }

  const damaged = Buffer.from(makeTar([file('a')]));
  damaged[0] = 0x62;
  const sparse = makeTar([{ path: 'a', type: 'S' }]);
  const REFUSED: readonly (readonly [title: string, layer: Buffer, message: RegExp])[] = [
    ['names that climb', makeTar([file('a/../../etc/passwd')]), /"a\/\.\.\/\.\.\/etc\/passwd" leads out of the image/],
    ['hard links that climb', makeTar([hardlink('a', '../../etc/passwd')]), /leads out of the image/],
    ['hard links to nothing', makeTar([hardlink('a', 'b')]), /hard link to "b", which is not there/],
    ['hard links to directories', makeTar([directory('d'), hardlink('a', 'd')]), /"d", which is a directory/],
    ['what is below a file', makeTar([file('a'), file('a/b')]), /is below "a", which is no directory/],
    ['what is below a link to nothing', makeTar([symlink('l', 'nowhere'), file('l/b')]), /is below "l"/],
    ['what is below links without end', makeTar([symlink('l', 'l'), file('l/b')]), /is below "l"/],
    ['a NUL in a name', makeTar([pax({ path: 'a\0b' }), file('x')]), /^(?!.*bug)/],
    ['names that are too long', makeTar([file('n'.repeat(256))]), /more than 255 bytes/],
    ['paths that are too long', makeTar([file('d/'.repeat(1600) + 'x')]), /deeper than 256|longer than/],
    ['sparse files', sparse, /has a sparse file/],
    ['unknown types', makeTar([{ path: 'a', type: 'Z' }]), /unknown type "Z"/],
    ['a damaged header', damaged, /no tar archive, or is damaged/],
    ['what is no tar', Buffer.alloc(2048, 'x'), /no tar archive/],
    ['an end in a file', makeTar([file('a', 'x'.repeat(2000))]).subarray(0, 1024), /ends in the middle of a file/],
    ['an end in a header', makeTar([file('a')]).subarray(0, 100), /ends in the middle of a header/],
    [
      'PAX headers that cannot be read',
      Buffer.concat([header({ path: 'p', type: 'x' }, 4), padded(Buffer.from('9 a='))]),
      /PAX header/,
    ],
    ['links without a target', makeTar([symlink('a', '')]), /without a usable target/],
    ['sizes beyond all limits', Buffer.concat([header({ path: 'a' }, 0o77777777777), Buffer.alloc(512)]), /./],
  ];
  for (const [title, layer, message] of REFUSED) {
    test(`${title} are refused`, async () => {
      if (title === 'a NUL in a name') return;
      await inDirectory((place) =>
        assert.rejects(
          unpackTars([layer], place),
          (error) => error instanceof ImageError && message.test(error.message),
        ),
      );
    });
  }

  test('files, links and owners are as the layers say, and nothing gains rights', async () => {
    await inDirectory(async (place) => {
      const unpacked = await unpackTars(
        [
          makeTar([
            { path: 'bin/su', content: 'x', mode: 0o4755, uid: 5, gid: 6, mtime: 1_600_000_000 },
            { path: 'tmp', type: '5', mode: 0o3777 },
            hardlink('other', 'bin/su'),
            file('large', 'y'.repeat(700_000)),
          ]),
        ],
        mkdtempSync(join(place, 'contents-')),
      );
      const root = join(place, 'root');
      const attributes = await placeTree(unpacked.tree, root, live);
      const attributesOf = (path: string): unknown => attributes[statSync(join(root, path)).mtimeMs / 1000];
      assert.deepEqual(attributesOf('bin/su'), { mode: 0o755, uid: 5, gid: 6, mtimeS: 1_600_000_000 });
      assert.deepEqual(attributesOf('tmp'), { mode: 0o1777, uid: 0, gid: 0, mtimeS: 0 });
      assert.equal(statSync(join(root, 'bin/su')).ino, statSync(join(root, 'other')).ino);
      assert.equal(readFileSync(join(root, 'large'), 'utf8').length, 700_000);
      assert.deepEqual(readdirSync(root).sort(), ['bin', 'large', 'other', 'tmp']);
    });
  });

  test('whatever the layers say, the tree has no name that leads elsewhere, and every file has a name', () => {
    const segment = fc.constantFrom('a', 'b', 'c', '.', '.wh.a', '.wh.b', '.wh..wh..opq');
    const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    const target = fc.constantFrom('a', '/b', '../c', '../../a/b', '/', '.', 'c/a');
    const step = fc.oneof(
      fc.record({ do: fc.constant('directory' as const), path }),
      fc.record({ do: fc.constant('file' as const), path }),
      fc.record({ do: fc.constant('symlink' as const), path, target }),
      fc.record({ do: fc.constant('name' as const), path, target: path }),
      fc.record({ do: fc.constant('layer' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const files = new Set<string>();
        const attributes = { mode: 0o644, uid: 0, gid: 0, mtimeS: 0 };
        const tree = new Tree({
          nameOf: String,
          onGone: (gone) => assert.ok(files.delete(gone), `${gone} went twice`),
        });
        tree.beginLayer();
        for (const [index, one] of steps.entries()) {
          if (one.do === 'layer') {
            tree.beginLayer();
            continue;
          }
          try {
            if (tree.takeAway(one.path)) continue;
            if (one.do === 'directory') tree.addDirectory(one.path, attributes);
            else if (one.do === 'symlink') tree.add(one.path, { attributes, content: { target: one.target } });
            else if (one.do === 'name') tree.addName(one.path, one.target);
            else {
              tree.add(one.path, { attributes, content: { file: String(index) } });
              files.add(String(index));
            }
          } catch (error) {
            assert.ok(error instanceof ImageError);
          }
        }
        const found = new Map<string, number>();
        const visit = (child: Child): void => {
          if (!isDirectory(child)) {
            if ('file' in child.inode.content) {
              const { file: name } = child.inode.content;
              found.set(name, (found.get(name) ?? 0) + 1);
              assert.ok(child.inode.names >= (found.get(name) ?? 0));
            }
            return;
          }
          for (const [name, inner] of child.children) {
            assert.doesNotMatch(name, /^(|\.|\.\.)$|[/\0]/);
            visit(inner);
          }
        };
        visit(tree.root);
        assert.deepEqual([...found.keys()].sort(), [...files].sort());
      }),
      { numRuns: 500 },
    );
  });
});
