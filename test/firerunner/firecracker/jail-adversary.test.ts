/** A program that races against firerunner in a jail, as the user of its VM: it must never win. */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { FirecrackerApi } from '../../../src/firerunner/firecracker/api.ts';
import { JailFiles } from '../../../src/firerunner/firecracker/jail-files.ts';
import { removeJail } from '../../../src/firerunner/firecracker/remove-jail.ts';
import { connectOwned, ForeignSocketError } from '../../../src/protocol/owned-socket.ts';
import { dialVsock } from '../../../src/protocol/vsock.ts';

const VMM = { uid: 200_001, gid: 200_001 };
/** How long each race lasts, in ms. */
const RACE_MS = 3000;
const LINKS = 2000;

function missing(): string | false {
  if (process.getuid?.() !== 0) return 'another user’s program needs root';
  return spawnSync('gcc', ['--version']).error === undefined ? false : 'gcc is not installed';
}

describe('an adversary in a jail', { skip: missing(), timeout: 60_000 }, () => {
  let program: string;
  let bin: string;
  let directory: string;
  let adversary: ChildProcess | null = null;
  const at = (name: string): string => join(directory, name);

  before(() => {
    bin = mkdtempSync(join(tmpdir(), 'snapfaas-adversary-'));
    chmodSync(bin, 0o755);
    program = join(bin, 'adversary');
    const source = join(import.meta.dirname, 'fixtures/adversary.c');
    const { status, stderr } = spawnSync('gcc', ['-O2', '-o', program, source], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });
  after(() => rmSync(bin, { recursive: true }));

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'snapfaas-jail-'));
    // Its own user may enter its root directory, as after the jailer's change of root.
    chmodSync(directory, 0o755);
    for (const name of ['draft', 'files', 'elsewhere']) mkdirSync(at(name), { mode: 0o700 });
    mkdirSync(at('jail'), { mode: 0o755 });
    mkdirSync(at('jail/root'), { mode: 0o700 });
    chownSync(at('jail/root'), VMM.uid, VMM.gid);
    writeFileSync(at('image'), 'the image that all share', { mode: 0o644 });
  });
  afterEach(async () => {
    if (adversary !== null) await end(adversary);
    adversary = null;
    rmSync(directory, { recursive: true, force: true });
  });

  async function attack(kind: string, elsewhere: string): Promise<ChildProcess> {
    const child = spawn(program, [at('jail/root'), String(VMM.uid), kind, elsewhere], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    adversary = child;
    await once(child.stdout, 'data');
    return child;
  }

  async function end(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  /** Repeats `round` while the adversary lives. */
  async function race(child: ChildProcess, round: (number: number) => Promise<void>): Promise<number> {
    const until = performance.now() + RACE_MS;
    let rounds = 0;
    for (; performance.now() < until; rounds += 1) {
      await round(rounds);
      await nextTurn();
    }
    assert.equal(child.exitCode ?? child.signalCode, null, 'the adversary was there to the end');
    return rounds;
  }

  test('never becomes the owner of an image, never changes one', async () => {
    for (let count = 0; count < LINKS; count += 1) linkSync(at('image'), at(`jail/root/image-${count}`));
    const files = new JailFiles(at('files'), () => undefined);
    const child = await attack('files', at('image'));
    let linked = 0;
    const rounds = await race(child, async (number) => {
      for (const name of ['memory', 'state']) {
        const own = at(`draft/${name}-${number}`);
        if (name === 'memory') writeFileSync(own, 'ours', { mode: 0o600 });
        try {
          const link = await files.linkWritable(own, at(`jail/root/${name}.new`), VMM);
          linked += 1;
          await nextTurn();
          await link.collect();
          await link.drop();
          assert.equal(statSync(own).uid, 0);
        } catch (error) {
          // It was faster than we, and got nothing for it.
          assert.match(String(error), /the VMM has put something in the place/);
        }
        rmSync(own);
      }
    });
    await end(child);
    assert.ok(linked > rounds / 20, `${linked} of ${2 * rounds} files were linked`);
    const { uid, gid, mode } = statSync(at('image'));
    assert.deepEqual([uid, gid, mode & 0o7777], [0, 0, 0o644]);
    assert.equal(readFileSync(at('image'), 'utf8'), 'the image that all share');
    assert.ok(readdirSync(at('jail/root')).length < LINKS, 'it took some of its links for that');
  });

  test('never leads us to the socket of another VM', async () => {
    let reached = 0;
    const other = createServer((socket) => {
      reached += 1;
      socket.destroy();
    });
    other.listen(at('elsewhere/v.sock'));
    await once(other, 'listening');
    // Whoever reaches it is the one to blame, not the rights to it.
    chmodSync(at('elsewhere'), 0o777);
    chmodSync(at('elsewhere/v.sock'), 0o777);
    const child = await attack('sockets', at('elsewhere/v.sock'));
    let refused = 0;
    let opened = 0;
    const rounds = await race(child, async (number) => {
      const socketPath = at(`jail/root/${number % 2 === 0 ? 'api.sock' : 'v.sock'}`);
      try {
        const socket = connectOwned(socketPath, VMM.uid);
        opened += 1;
        await once(socket, 'connect').catch(() => undefined);
        socket.destroy();
      } catch (error) {
        assert.ok(
          error instanceof ForeignSocketError || (error as NodeJS.ErrnoException).code === 'ENOENT',
          String(error),
        );
        refused += 1;
      }
    });
    for (let count = 0; count < 20; count += 1) {
      const limit = AbortSignal.timeout(20);
      const api = new FirecrackerApi({ socketPath: at('jail/root/api.sock'), ownerUid: VMM.uid });
      await api.untilUp(limit).catch(() => undefined);
      api.close();
      const address = { socketPath: at('jail/root/v.sock'), vsockPort: 1024, ownerUid: VMM.uid };
      await dialVsock(address, limit).catch(() => undefined);
    }
    await end(child);
    other.close();
    assert.ok(refused > rounds / 20 && opened > rounds / 20, `${refused} refused, ${opened} opened of ${rounds}`);
    assert.equal(reached, 0);
  });

  test('a socket of another user is refused, by whatever name', async () => {
    const ours = createServer((socket) => socket.destroy()).listen(at('jail/root/v.sock'));
    await once(ours, 'listening');
    assert.throws(() => connectOwned(at('jail/root/v.sock'), VMM.uid), {
      name: 'ForeignSocketError',
      message: /the socket .*v\.sock belongs to user 0, not to 200001/,
    });
    const address = { socketPath: at('jail/root/v.sock'), vsockPort: 1024, ownerUid: VMM.uid };
    await assert.rejects(dialVsock(address, AbortSignal.timeout(5000)), { name: 'ForeignSocketError' });
    ours.close();
  });

  test('never has us remove anything outside its jail', async () => {
    const names = Array.from({ length: 50 }, (_, index) => `file-${index}`);
    for (const name of names) writeFileSync(at(`elsewhere/${name}`), name);
    chmodSync(at('elsewhere'), 0o777);
    let removed = 0;
    const until = performance.now() + RACE_MS;
    while (performance.now() < until) {
      const child = await attack('directories', at('elsewhere'));
      // While it lives it may keep its jail, and no more.
      for (let tries = 0; tries < 20; tries += 1) await removeJail(at('jail')).catch(() => undefined);
      await end(child);
      await removeJail(at('jail'));
      removed += 1;
      mkdirSync(at('jail/root'), { recursive: true });
      chownSync(at('jail/root'), VMM.uid, VMM.gid);
    }
    assert.ok(removed > 0);
    assert.deepEqual(
      readdirSync(at('elsewhere')).sort(),
      [...names, ...readdirSync(at('elsewhere')).filter((name) => name === 'x')].sort(),
    );
  });
});
