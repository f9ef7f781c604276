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
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { openRunDirectory, removeLeftovers } from '../../src/firerunner/run-directory.ts';
import { childrenOf, commandOf, isRunning, until } from '../end-to-end/processes.ts';
import { startProgram } from '../support/program.ts';
import { assertNothingLeft, createWorkspace, FIRERUNNER } from '../support/snapctr.ts';

describe('run directory', { timeout: 30_000 }, () => {
  let base: string;
  beforeEach(() => (base = mkdtempSync(join(tmpdir(), 'snapfaas-run-'))));
  afterEach(() => rmSync(base, { recursive: true, force: true }));
  const open = (): ReturnType<typeof openRunDirectory> => openRunDirectory({ SNAPFAAS_RUN_DIR: base });

  test('is named by process and start time, for its owner alone, and holds one directory for each VM', () => {
    const directory = open();
    try {
      assert.match(directory.path, new RegExp(`^${base}/${process.pid}-\\d+$`));
      const vm = directory.create('vm-1');
      assert.equal(vm, join(directory.path, 'vm-1'));
      for (const path of [directory.path, vm]) assert.equal(statSync(path).mode & 0o777, 0o700);
      writeFileSync(join(vm, 'control.sock'), '');
      directory.remove('vm-1');
      directory.remove('vm-never-made');
      assert.deepEqual(readdirSync(directory.path), []);
    } finally {
      directory.close();
    }
  });

  test('closing removes it with all that is in it, and its janitor ends', async () => {
    const directory = open();
    writeFileSync(join(directory.create('vm-1'), 'function.sock'), '');
    const janitor = childrenOf(process.pid).find((pid) => commandOf(pid).includes(directory.path));
    assert.ok(janitor !== undefined);
    directory.close();
    assert.deepEqual(readdirSync(base), []);
    await until('the janitor ends', () => !isRunning(janitor));
  });

  test('those of processes that are gone are removed, with what is in them; others stay', () => {
    const mine = open();
    try {
      // The process id of this test, with another start time: the id was used again.
      const gone = ['4194305-17', `${process.pid}-1`, '4194306-0'];
      const kept = ['notes', 'a-b', '12', mine.path.slice(base.length + 1)];
      for (const name of [...gone, ...kept]) mkdirSync(join(base, name, 'vm-1'), { recursive: true });
      writeFileSync(join(base, '4194305-17', 'vm-1', 'function.sock'), '');
      assert.deepEqual(removeLeftovers(base).sort(), gone.sort());
      assert.deepEqual(readdirSync(base).sort(), kept.sort());
    } finally {
      mine.close();
    }
  });

  test('a base that is too long for unix sockets is refused with the remedy', () => {
    const long = join(base, 'x'.repeat(80));
    assert.throws(
      () => openRunDirectory({ SNAPFAAS_RUN_DIR: long }),
      /too long.*107 are possible; set SNAPFAAS_RUN_DIR/,
    );
    assert.equal(existsSync(long), false);
  });

  test(
    'a base of another user is refused',
    { skip: process.getuid?.() !== 0 && 'only root can give files away' },
    () => {
      chownSync(base, 12_345, 12_345);
      chmodSync(base, 0o777);
      assert.throws(open, /belongs to user 12345, not to us; set SNAPFAAS_RUN_DIR/);
    },
  );

  test('when its process is killed, the janitor removes it', async () => {
    const workspace = createWorkspace([]);
    const program = startProgram(FIRERUNNER, ['--serve', '--vmm', 'process'], { workspace });
    await until('it serves', () => program.stdout.includes('"serving"'));
    const [name] = readdirSync(workspace.runDirectory);
    assert.ok(name?.startsWith(`${program.pid}-`));
    program.kill('SIGKILL');
    await program.finished;
    await assertNothingLeft(workspace, 5000);
    workspace.remove();
  });
});
