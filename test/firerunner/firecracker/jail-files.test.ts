/** What may be linked into a jail, and what comes back from one. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { JailFiles } from '../../../src/firerunner/firecracker/jail-files.ts';
import { removeJail } from '../../../src/firerunner/firecracker/remove-jail.ts';

const VMM = { uid: 200_001, gid: 200_002 };
const skip = process.getuid?.() === 0 ? false : 'files of other users need root';

describe('files of a jail', { skip }, () => {
  let directory: string;
  let files: JailFiles;
  let notes: string[];
  const at = (name: string): string => join(directory, name);
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'snapfaas-jail-files-'));
    for (const name of ['files', 'jail', 'draft']) mkdirSync(at(name));
    notes = [];
    files = new JailFiles(at('files'), (note) => notes.push(note));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  for (const { what, mode, uid = 0, gid = 0, why } of [
    { what: 'readable for others', mode: 0o644, why: null },
    { what: 'of another user', mode: 0o644, uid: 1000, gid: 1000, why: null },
    { what: 'readable for its group, which the VMM is in', mode: 0o640, gid: VMM.gid, why: null },
    { what: 'not readable', mode: 0o600, why: /other users may not read it/ },
    { what: 'not readable for its group', mode: 0o604, gid: VMM.gid, why: /other users may not read it/ },
    { what: "the VMM's user's own", mode: 0o444, uid: VMM.uid, why: /it belongs to user 200001, which a VM runs as/ },
    { what: 'writable for others', mode: 0o666, why: /other users may write to it/ },
    { what: 'writable for the group', mode: 0o664, gid: VMM.gid, why: /group 200002, which VMs are in, may write/ },
  ]) {
    test(`an image that is ${what} is ${why === null ? 'linked' : 'copied'}`, async () => {
      writeFileSync(at('image'), 'image');
      chownSync(at('image'), uid, gid);
      chmodSync(at('image'), mode);
      await files.link(at('image'), at('jail/rootfs.ext4'), VMM);
      const linked = statSync(at('jail/rootfs.ext4'));
      const isLinked = linked.ino === statSync(at('image')).ino;
      assert.equal(isLinked, why === null);
      if (why === null) return assert.deepEqual(notes, []);
      assert.match(notes.join('\n'), why);
      assert.deepEqual([linked.uid, linked.mode & 0o777], [0, 0o444]);
      assert.deepEqual([statSync(at('image')).uid, statSync(at('image')).mode & 0o777], [uid, mode]);
    });
  }

  test('a writable link makes the file the VMM’s meanwhile, and ours when it is collected', async () => {
    writeFileSync(at('draft/memory'), 'before', { mode: 0o600 });
    const links = await Promise.all(
      ['memory', 'state'].map((name) => files.linkWritable(at(`draft/${name}`), at(`jail/${name}.new`), VMM)),
    );
    for (const name of ['memory', 'state']) {
      const linked = statSync(at(`jail/${name}.new`));
      assert.deepEqual([linked.uid, linked.gid, linked.mode & 0o777], [VMM.uid, VMM.gid, 0o600]);
      writeFileSync(at(`jail/${name}.new`), `new ${name}`);
    }
    for (const link of links) await link.collect();
    for (const name of ['memory', 'state']) {
      assert.equal(readFileSync(at(`draft/${name}`), 'utf8'), `new ${name}`);
      const back = statSync(at(`draft/${name}`));
      assert.deepEqual([back.uid, back.gid, back.mode & 0o777], [0, 0, 0o600]);
    }
  });

  test('on another file system it is copied there and back, and nothing stays', async () => {
    const elsewhere = mkdtempSync('/dev/shm/snapfaas-jail-files-');
    try {
      for (const name of ['files', 'jail']) mkdirSync(join(elsewhere, name));
      const others = new JailFiles(join(elsewhere, 'files'), (note) => notes.push(note));
      writeFileSync(at('draft/memory'), 'before', { mode: 0o600 });
      const link = await others.linkWritable(at('draft/memory'), join(elsewhere, 'jail/memory.new'), VMM);
      const linked = statSync(join(elsewhere, 'jail/memory.new'));
      assert.deepEqual([linked.uid, linked.gid, linked.mode & 0o777], [VMM.uid, VMM.gid, 0o600]);
      writeFileSync(join(elsewhere, 'jail/memory.new'), 'after');
      // What the VMM does to the name in its jail has no effect.
      rmSync(join(elsewhere, 'jail/memory.new'));
      symlinkSync('/etc/hostname', join(elsewhere, 'jail/memory.new'));
      await link.collect();
      assert.equal(readFileSync(at('draft/memory'), 'utf8'), 'after');
      assert.equal(statSync(at('draft/memory')).uid, 0);
      await link.drop();
      assert.deepEqual(readdirSync(join(elsewhere, 'files')), []);
      assert.match(notes.join('\n'), /the memory of a VM is copied, to its jail and back/);
    } finally {
      rmSync(elsewhere, { recursive: true });
    }
  });

  for (const [what, plant] of [
    ['a symbolic link', (path: string) => symlinkSync(at('image'), path)],
    ['a hard link to an image', (path: string) => linkSync(at('image'), path)],
    ['a file', (path: string) => writeFileSync(path, '')],
    ['a directory', (path: string) => mkdirSync(path)],
  ] as const) {
    test(`${what} in the place of a link is refused, and untouched`, async () => {
      writeFileSync(at('image'), 'image', { mode: 0o644 });
      writeFileSync(at('draft/memory'), 'memory');
      plant(at('jail/memory.new'));
      const refusal = { name: 'LaunchError', message: /the VMM has put something in the place of .*memory\.new/ };
      await assert.rejects(files.linkWritable(at('draft/memory'), at('jail/memory.new'), VMM), refusal);
      await assert.rejects(files.link(at('draft/memory'), at('jail/memory.new'), VMM), refusal);
      assert.deepEqual([statSync(at('image')).uid, readFileSync(at('image'), 'utf8')], [0, 'image']);
    });
  }

  test('what takes the place of a linked file is not collected, whatever it is', async () => {
    writeFileSync(at('image'), 'image', { mode: 0o644 });
    for (const plant of [symlinkSync, linkSync]) {
      writeFileSync(at('draft/memory'), 'memory');
      const link = await files.linkWritable(at('draft/memory'), at('jail/memory.new'), VMM);
      rmSync(at('jail/memory.new'));
      plant(at('image'), at('jail/memory.new'));
      await link.collect();
      await link.drop();
      assert.ok(lstatSync(at('draft/memory')).isFile());
      assert.equal(readFileSync(at('draft/memory'), 'utf8'), 'memory');
      assert.deepEqual([statSync(at('image')).mode & 0o777, readFileSync(at('image'), 'utf8')], [0o644, 'image']);
      for (const name of ['draft/memory', 'jail/memory.new']) rmSync(at(name));
    }
  });

  test('a jail is removed however deep it is, whatever it is called, and nothing outside', async () => {
    mkdirSync(at('other'));
    writeFileSync(at('other/file'), 'other');
    const deep = join(at('jail'), ...Array<string>(200).fill('d'));
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, 'f'), '');
    symlinkSync(at('other'), join(deep, 'link'));
    symlinkSync(at('other'), at('jail/link'));
    // No UTF-8.
    writeFileSync(Buffer.concat([Buffer.from(`${at('jail')}/`), Buffer.from([0xff, 0xfe])]), '');
    mkdirSync(Buffer.concat([Buffer.from(`${deep}/`), Buffer.from([0xc3, 0x28])]));
    await removeJail(at('jail'));
    assert.equal(existsSync(at('jail')), false);
    assert.equal(readFileSync(at('other/file'), 'utf8'), 'other');
    await removeJail(at('jail'));
  });
});
