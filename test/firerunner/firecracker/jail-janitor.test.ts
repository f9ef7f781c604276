/** Other programs have jails in the same directory: only what is ours by name and owner is ended and removed. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { jailIds, removeAbandonedJails, startJailJanitor } from '../../../src/firerunner/firecracker/jail-janitor.ts';
import { ourselves, ownerTag } from '../../../src/storage/owner.ts';
import { until } from '../../end-to-end/processes.ts';

/** No process has it: it is over every kernel's limit. */
const GONE = '999999999-1';
const isRoot = process.getuid?.() === 0;

describe('jails of others', () => {
  let jails: string;
  let children: ChildProcess[];
  beforeEach(() => {
    jails = mkdtempSync(join(tmpdir(), 'snapfaas-jails-'));
    children = [];
  });
  afterEach(async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    rmSync(jails, { recursive: true });
  });

  /** With a process that runs in it. */
  async function addJail(id: string): Promise<ChildProcess> {
    const root = join(jails, id, 'root');
    mkdirSync(root, { recursive: true });
    const child = spawn('sleep', ['100'], { cwd: root, stdio: 'ignore' });
    children.push(child);
    await once(child, 'spawn');
    writeFileSync(join(jails, id, 'pid'), String(child.pid));
    return child;
  }

  test('what a firerunner left that is gone is ended and removed', async () => {
    const child = await addJail(`${jailIds(GONE)}7`);
    await removeAbandonedJails(jails, null);
    assert.equal(existsSync(join(jails, `${jailIds(GONE)}7`)), false);
    if (child.signalCode === null) await once(child, 'exit');
    assert.equal(child.signalCode, 'SIGKILL');
  });

  test('neither another orchestrator’s jails nor a living firerunner’s are touched', async () => {
    const digits = Array.from({ length: 10 }, () => randomUUID().replaceAll(/[a-f]/g, '7'));
    const foreign = [
      ...digits,
      ...[GONE, `${GONE}-1`, '2024-05-01', '7-keepme', '1-2-3', 'vm-1'],
      ...[`snapfaas-vm-${GONE}-1`, `snapfaas-${GONE}x-1`, `snapfaas-0${GONE}-1`, `.snapfaas-${GONE}-1`],
      ...[
        'snapfaas',
        'snapfaas-1',
        'snapfaas-a-b-c',
        `my-snapfaas-${GONE}-1`,
        `${jailIds(ownerTag(await ourselves()))}1`,
      ],
    ];
    const running = await Promise.all(foreign.map((id) => addJail(id)));
    symlinkSync(join(jails, GONE), join(jails, `${jailIds(GONE)}1`));
    await removeAbandonedJails(jails, null);
    const none = join(jails, 'none');
    startJailJanitor({ jails, uids: none, files: none, cgroups: [], owner: '999999999-2' })();
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (const [index, id] of foreign.entries()) {
      assert.ok(existsSync(join(jails, id, 'root')), `${id} is there`);
      assert.equal(running[index]?.signalCode, null, `${id} runs`);
    }
    assert.ok(existsSync(join(jails, `${jailIds(GONE)}1`)), 'the link is there');
  });

  test(
    'a jail of ours by name that belongs to another user is not',
    { skip: isRoot ? false : 'needs root' },
    async () => {
      const id = `${jailIds(GONE)}1`;
      const child = await addJail(id);
      chownSync(join(jails, id), 1000, 1000);
      await removeAbandonedJails(jails, null);
      assert.ok(existsSync(join(jails, id, 'root')));
      assert.equal(child.signalCode, null);
    },
  );

  test('the janitor of a firerunner ends and removes that one’s jails, and its alone', async () => {
    const own = await addJail(`${jailIds(GONE)}1`);
    const other = await addJail(`${jailIds('999999999-11')}1`);
    // Its working directory is what the process itself may change: a VMM whose root is its jail cannot leave that.
    const none = join(jails, 'none');
    startJailJanitor({ jails, uids: none, files: none, cgroups: [], owner: GONE })();
    await until('the jail is gone', () => !existsSync(join(jails, `${jailIds(GONE)}1`)));
    if (own.signalCode === null) await once(own, 'exit');
    assert.equal(other.signalCode, null);
    assert.ok(existsSync(join(jails, `${jailIds('999999999-11')}1`)));
  });

  test(
    'a VMM that has left its working directory is found by its root',
    { skip: isRoot ? false : 'needs root' },
    async () => {
      const id = `${jailIds(GONE)}3`;
      const root = join(jails, id, 'root');
      mkdirSync(root, { recursive: true });
      // As in a jail: its root is another one, and its working directory is any below.
      const script =
        'mkdir -p "$0/usr" "$0/bin" "$0/lib" "$0/lib64" "$0/sub"; for d in usr bin lib lib64; do ' +
        '[ -e "/$d" ] && mount --bind "/$d" "$0/$d"; done; exec chroot "$0" /bin/sh -c "cd /sub && exec sleep 100"';
      const child = spawn('unshare', ['-m', '--', 'sh', '-c', script, root], { stdio: 'ignore' });
      children.push(child);
      await once(child, 'spawn');
      writeFileSync(join(jails, id, 'pid'), String(child.pid));
      await until('it is in its jail', () => {
        try {
          return readlinkSync(`/proc/${child.pid ?? 0}/cwd`).endsWith('/sub');
        } catch {
          return false;
        }
      });
      await removeAbandonedJails(jails, null);
      assert.equal(existsSync(join(jails, id)), false);
      if (child.signalCode === null) await once(child, 'exit');
      assert.equal(child.signalCode, 'SIGKILL');
    },
  );
});
