import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { openRunDirectory } from '../../src/firerunner/run-directory.ts';
import { childrenOf, commandOf, isRunning, until } from '../end-to-end/processes.ts';
import { startProgram } from '../support/program.ts';
import { assertNothingLeft, createWorkspace, FIRERUNNER } from '../support/snapctr.ts';

describe('run directory', { timeout: 30_000 }, () => {
  let base: string;
  beforeEach(() => (base = mkdtempSync(join(tmpdir(), 'snapfaas-run-'))));
  afterEach(() => rmSync(base, { recursive: true, force: true }));
  const open = (): ReturnType<typeof openRunDirectory> => openRunDirectory({ SNAPFAAS_RUN_DIR: base });

  test('is named by process and start time, for its owner alone, and holds one directory for each VM', async () => {
    const directory = await open();
    try {
      assert.match(directory.path, new RegExp(`^${base}/snapfaas-${process.pid}-\\d+$`));
      const vm = await directory.create('vm-1');
      assert.equal(vm, join(directory.path, 'vm-1'));
      for (const path of [directory.path, vm]) assert.equal(statSync(path).mode & 0o777, 0o700);
      writeFileSync(join(vm, 'control.sock'), '');
      await directory.remove('vm-1');
      await directory.remove('vm-never-made');
      assert.deepEqual(readdirSync(directory.path), []);
    } finally {
      directory.close();
    }
  });

  test('closing removes it with all that is in it, and its janitor ends', async () => {
    const directory = await open();
    writeFileSync(join(await directory.create('vm-1'), 'function.sock'), '');
    const janitor = childrenOf(process.pid).find((pid) => commandOf(pid).includes(directory.path));
    assert.ok(janitor !== undefined);
    directory.close();
    assert.deepEqual(readdirSync(base), []);
    await until('the janitor ends', () => !isRunning(janitor));
  });

  test('those of processes that are gone are removed, with what is in them; nothing else is touched', async () => {
    // The process id of this test, with another start time: the id was used again.
    const gone = ['snapfaas-4194305-17', `snapfaas-${process.pid}-1`, 'snapfaas-4194306-0'];
    const kept = [
      'notes',
      '2024-05-01',
      '2024-12-01',
      '7-keepme',
      '4194305-17',
      'snapfaas-notes',
      'snapfaas-2024-05-01',
    ];
    for (const name of [...gone, ...kept]) mkdirSync(join(base, name, 'vm-1'), { recursive: true });
    writeFileSync(join(base, 'snapfaas-4194305-17', 'vm-1', 'function.sock'), '');
    symlinkSync('notes', join(base, 'snapfaas-4194307-17'));
    const mine = await open();
    try {
      assert.deepEqual(
        readdirSync(base).sort(),
        [...kept, 'snapfaas-4194307-17', mine.path.slice(base.length + 1)].sort(),
      );
      for (const name of kept) assert.deepEqual(readdirSync(join(base, name)), ['vm-1'], name);
    } finally {
      mine.close();
    }
  });

  test('a base that is too long for unix sockets is refused with the remedy', async () => {
    const long = join(base, 'x'.repeat(80));
    await assert.rejects(
      openRunDirectory({ SNAPFAAS_RUN_DIR: long }),
      /too long.*107 are possible; set SNAPFAAS_RUN_DIR/,
    );
    assert.equal(existsSync(long), false);
  });

  /** Whether others decide what is in a base; each case changes one that would be taken. */
  const BASES: readonly (readonly [what: string, change: (path: string) => void, refusal: RegExp | null])[] = [
    ['ours alone', () => undefined, null],
    ['readable by others', (path) => chmodSync(path, 0o755), null],
    ['writable by others, each of whom has only his own names', (path) => chmodSync(path, 0o1777), null],
    ['writable by everybody', (path) => chmodSync(path, 0o777), /can be written to by other users \("chmod go-w"/],
    ['writable by a group', (path) => chmodSync(path, 0o770), /can be written to by other users/],
    ['a link to a directory', (path) => linkInstead(path, '.'), /is a symbolic link/],
    ['a link to a directory, with a slash', (path) => linkInstead(path.replace(/\/$/, ''), '.'), /is a symbolic link/],
    ['a link that leads nowhere', (path) => linkInstead(path, 'nothing'), /is a symbolic link/],
    ['a file', (path) => (rmSync(path, { recursive: true }), writeFileSync(path, '')), /is not a directory/],
    ...(process.getuid?.() === 0
      ? [
          [
            "another user's",
            (path: string) => chownSync(path, 12_345, 12_345),
            /belongs to user 12345, not to us/,
          ] as const,
          [
            "another user's, as /tmp is",
            (path: string) => (chownSync(path, 12_345, 12_345), chmodSync(path, 0o1777)),
            /belongs to user 12345, not to us/,
          ] as const,
        ]
      : []),
  ];
  function linkInstead(path: string, target: string): void {
    rmSync(path, { recursive: true });
    symlinkSync(target, path);
  }
  for (const [what, change, refusal] of BASES) {
    test(`a base that is ${what} is ${refusal === null ? 'taken' : 'refused with the remedy, and nothing is removed'}`, async () => {
      const path = join(base, what.includes('slash') ? 'b/' : 'b');
      mkdirSync(path);
      change(path);
      mkdirSync(join(base, 'snapfaas-4194305-17'));
      const opening = openRunDirectory({ SNAPFAAS_RUN_DIR: path });
      if (refusal === null) return (await opening).close();
      await assert.rejects(opening, (error) => {
        assert.ok(error instanceof Error);
        assert.equal(error.name, 'RunDirectoryError');
        assert.match(error.message, refusal);
        assert.match(error.message, /; set SNAPFAAS_RUN_DIR to a directory of your own$/);
        return true;
      });
      assert.ok(existsSync(join(base, 'snapfaas-4194305-17')));
    });
  }

  test('when its process is killed, the janitor removes it', async () => {
    const workspace = createWorkspace([]);
    const program = startProgram(FIRERUNNER, ['--serve', '--vmm', 'process'], { workspace });
    await until('it serves', () => program.stdout.includes('"serving"'));
    const [name] = readdirSync(workspace.runDirectory);
    assert.ok(name?.startsWith(`snapfaas-${program.pid}-`));
    program.kill('SIGKILL');
    await program.finished;
    await assertNothingLeft(workspace, 5000);
    workspace.remove();
  });
});
