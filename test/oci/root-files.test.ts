/** What an image is given so that guests can enter it, and whose files are the function's. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ImageError } from '../../src/oci/image-error.ts';
import type { ImageSettings } from '../../src/oci/manifest.ts';
import { completeRoot } from '../../src/oci/root-files.ts';
import { isDirectory, type Attributes, type Tree } from '../../src/oci/tree.ts';
import { unpackLayers } from '../../src/oci/unpack.ts';
import { makeTar, type TarFile } from '../support/container-images.ts';

const SETTINGS: ImageSettings = { entryPoint: ['/run'], command: [], environment: {}, workingDirectory: '', user: '' };
const PASSWD = 'root:x:0:0::/:/bin/sh\nada:x:77:78::/:/bin/sh\nbob:x:1000:1000::/:/bin/sh\n';

let directory: string;
before(() => (directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-oci-'))));
after(() => rmSync(directory, { recursive: true, force: true }));

async function completed(
  files: readonly TarFile[],
  settings: Partial<ImageSettings> = {},
): Promise<{ readonly tree: Tree; readonly owners: (attributes: Attributes) => Attributes }> {
  const open = async function* (): AsyncGenerator<Buffer> {
    yield await Promise.resolve(makeTar(files));
  };
  const place = mkdtempSync(join(directory, 'contents-'));
  const unpacked = await unpackLayers([{ name: 'layer 1', open }], place, new AbortController().signal);
  return { tree: unpacked.tree, owners: await completeRoot(unpacked, { ...SETTINGS, ...settings }) };
}

function textAt(tree: Tree, path: string): string | null {
  const there = tree.lookUp(path);
  if (there === null || isDirectory(there) || !('file' in there.inode.content)) return null;
  return readFileSync(there.inode.content.file, 'utf8');
}

describe('an image made ready to be a root', () => {
  test('has a directory for each mount, where there were links or files', async () => {
    const { tree } = await completed([
      { path: 'tmp', type: '2', target: '/etc' },
      { path: 'proc', content: 'x' },
      { path: 'dev', type: '2', target: '../../dev' },
      { path: 'etc/resolv.conf', type: '2', target: '../run/resolv.conf' },
      { path: '.snapfaas/image.json', content: '{"entry_point":["/other"]}' },
    ]);
    for (const name of ['proc', 'sys', 'dev', 'run', 'tmp']) {
      const there = tree.root.children.get(name);
      assert.ok(there !== undefined && isDirectory(there), name);
    }
    for (const name of ['hosts', 'hostname', 'resolv.conf']) assert.equal(textAt(tree, `etc/${name}`), '');
    assert.deepEqual((JSON.parse(textAt(tree, '.snapfaas/image.json') ?? '') as { entry_point: unknown }).entry_point, [
      '/run',
    ]);
    assert.match(textAt(tree, 'etc/passwd') ?? '', /^root:x:0:[^]*\nfunction:x:1000:1000:/);
  });

  test('has its working directory, which is its user’s', async () => {
    const { tree } = await completed([{ path: 'etc/passwd', content: PASSWD }], {
      workingDirectory: '/srv/app',
      user: 'ada',
    });
    const there = tree.lookUp('/srv/app');
    assert.ok(there !== null && isDirectory(there));
    assert.deepEqual([there.attributes.uid, there.attributes.gid], [77, 78]);
  });

  const own = { mode: 0o600, mtimeS: 0 };
  for (const [user, uid, gid] of [
    ['ada', 77, 78],
    ['77', 77, 78],
    ['ada:9', 77, 9],
    ['5000', 5000, 0],
    ['', 0, 0],
    ['root', 0, 0],
  ] as const) {
    test(`USER "${user}": the function has the files of ${uid}:${gid}, unless that is root`, async () => {
      const { tree, owners } = await completed([{ path: 'etc/passwd', content: PASSWD }], { user });
      const seen = owners({ ...own, uid, gid });
      assert.deepEqual([seen.uid, seen.gid], [uid === 0 ? 0 : 1000, gid === 0 ? 0 : 1000]);
      const other = owners({ ...own, uid: 1000, gid: 1000 });
      assert.deepEqual([other.uid, other.gid], [uid === 0 ? 1000 : uid, gid === 0 ? 1000 : gid]);
      const name = /^(\w+):x:1000:/m.exec(textAt(tree, 'etc/passwd') ?? '')?.[1];
      assert.equal(name, uid === 77 ? 'ada' : uid === 0 ? 'bob' : 'function');
    });
  }

  test('is refused where its user is not there, or it says too much', async () => {
    const refused = (settings: Partial<ImageSettings>, message: RegExp): Promise<void> =>
      assert.rejects(completed([], settings), (error) => error instanceof ImageError && message.test(error.message));
    await refused({ user: 'nobody-here' }, /USER is "nobody-here"/);
    await refused({ user: '0:nobody-here' }, /group "nobody-here"/);
    await refused({ environment: { LONG: 'x'.repeat(1024 * 1024) } }, /larger than 1 MiB/);
  });
});
