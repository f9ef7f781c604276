import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CONTROL_VSOCK_PORT, FUNCTION_VSOCK_PORT, FrameType, SYNC_BYTES } from '../../../src/protocol/guest.ts';
import {
  BenchOfMachines,
  boot,
  invoke,
  loadBody,
  loadFunction,
  pauseAndSave,
  startFunction,
} from './bench-of-machines.ts';
import type { FakeProcess } from './fake-process.ts';

const MEMORY_BYTES = 128 * 1024 * 1024;

interface Files {
  readonly state: string;
  readonly memory: string;
}

let bench: BenchOfMachines;
before(async () => {
  bench = await BenchOfMachines.make();
});
after(() => bench.remove());

async function bootedToHello(language: 'python3' | 'nodejs' = 'python3'): Promise<FakeProcess> {
  const fake = await bench.start(bench.makeDirectory(language));
  await boot(fake);
  const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
  await control.next(FrameType.hello);
  await control.close();
  return fake;
}

async function baseSnapshot(language: 'python3' | 'nodejs' = 'python3'): Promise<Files> {
  const fake = await bootedToHello(language);
  const files = await pauseAndSave(fake, 'Full');
  await fake.kill();
  return files;
}

/** A fresh process that loads; fails unless it may. */
async function restored(
  files: Files,
  changes: object = {},
  language: 'python3' | 'nodejs' = 'python3',
): Promise<FakeProcess> {
  const fake = await bench.start(bench.makeDirectory(language));
  await fake.ok('PUT', '/snapshot/load', { ...loadBody(files), ...changes });
  return fake;
}

/** A load that must fail: 400, and the end of the process with status 1. */
async function refusedLoad(why: RegExp, body: object, prepare?: (fake: FakeProcess) => Promise<void>): Promise<void> {
  const fake = await bench.start();
  await prepare?.(fake);
  const { status, body: text } = await fake.request('PUT', '/snapshot/load', body);
  assert.equal(status, 400);
  assert.match((JSON.parse(text) as { fault_message: string }).fault_message, why);
  assert.equal((await fake.exited).status, 1);
}

async function seal(fake: FakeProcess): Promise<void> {
  const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
  await loadFunction(control);
  for (const step of ['hooks', 'generators']) {
    control.send(FrameType.seal, { step });
    await control.next(FrameType.sealed);
  }
  await control.close();
}

describe('fake snapshots: a whole life', () => {
  for (const language of ['python3', 'nodejs'] as const) {
    test(`${language}: boot, Full, load, LOAD, Diff onto a copy, load, invoke`, async () => {
      const base = await baseSnapshot(language);
      assert.equal(statSync(base.memory).size, MEMORY_BYTES);

      const builder = await restored(base, { track_dirty_pages: true }, language);
      await seal(builder);
      const copy = join(builder.directory, 'snapshot.mem');
      copyFileSync(base.memory, copy);
      const layer = await pauseAndSave(builder, 'Diff');
      assert.equal(layer.memory, copy);
      await builder.kill();

      for (let clone = 0; clone < 2; clone++) {
        const fake = await restored(layer, {}, language);
        const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
        control.send(FrameType.sync, undefined, Buffer.alloc(SYNC_BYTES));
        await startFunction(control, true);
        const port = await fake.dialGuest(FUNCTION_VSOCK_PORT);
        assert.deepEqual(await invoke(port, clone), { n: 1, event: clone });
        assert.deepEqual(await invoke(port, clone), { n: 2, event: clone });
        // Nothing of what was printed before the snapshot is printed again.
        assert.equal((await control.next(FrameType.log)).payload.toString('utf8'), 'call 1\n');
      }
    });
  }

  test('the source goes on after a snapshot: its connections are reset, its listeners stay', async () => {
    const fake = await bootedToHello();
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await pauseAndSave(fake, 'Full');
    assert.ok(!control.isClosed, 'nothing happens before the guest runs again');
    await fake.ok('PATCH', '/vm', { state: 'Resumed' });
    await control.closed;
    const again = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(again);
  });

  test('a load without resume_vm waits, and is then as a paused machine', async () => {
    const fake = await restored(await baseSnapshot(), { resume_vm: false });
    assert.match((await fake.request('GET', '/')).body, /"Paused"/);
    const dialled = fake.dialGuest(CONTROL_VSOCK_PORT);
    await fake.ok('PATCH', '/vm', { state: 'Resumed' });
    await loadFunction(await dialled);
  });

  test('host ports go on from where the snapshot was', async () => {
    const fake = await restored(await baseSnapshot());
    assert.equal((await fake.dialGuest(CONTROL_VSOCK_PORT)).greeting, 'OK 1073741825');
  });
});

describe('fake snapshots: what a Diff is', () => {
  test('the first after a boot can be loaded alone', async () => {
    const fake = await bootedToHello();
    const files = await pauseAndSave(fake, 'Diff');
    assert.equal(statSync(files.memory).size, MEMORY_BYTES);
    await loadFunction(await (await restored(files)).dialGuest(CONTROL_VSOCK_PORT));
  });

  test('one after a load cannot: pages of the base are missing', async () => {
    const builder = await restored(await baseSnapshot(), { track_dirty_pages: true });
    await seal(builder);
    await refusedLoad(/page \d+ of the memory file/, loadBody(await pauseAndSave(builder, 'Diff')));
  });

  test('nor does the base memory go with the newer state', async () => {
    const base = await baseSnapshot();
    const builder = await restored(base, { track_dirty_pages: true });
    await seal(builder);
    const { state } = await pauseAndSave(builder, 'Diff');
    await refusedLoad(/page \d+ of the memory file/, loadBody({ state, memory: base.memory }));
  });

  test('a file of another size is written anew', async () => {
    const fake = await bootedToHello();
    writeFileSync(join(fake.directory, 'snapshot.mem'), 'x'.repeat(5000));
    const files = await pauseAndSave(fake, 'Diff');
    assert.equal(statSync(files.memory).size, MEMORY_BYTES);
  });

  test('needs track_dirty_pages in this process', async () => {
    const fake = await restored(await baseSnapshot());
    await fake.ok('PATCH', '/vm', { state: 'Paused' });
    const body = { snapshot_type: 'Diff', snapshot_path: 's', mem_file_path: 'm' };
    assert.match((await fake.request('PUT', '/snapshot/create', body)).body, /needs track_dirty_pages/);
  });

  test('is not written onto the file that the machine has mapped', async () => {
    const base = await baseSnapshot();
    const fake = await restored(base, { track_dirty_pages: true });
    await fake.ok('PATCH', '/vm', { state: 'Paused' });
    const body = { snapshot_type: 'Diff', snapshot_path: 's', mem_file_path: base.memory };
    assert.match((await fake.request('PUT', '/snapshot/create', body)).body, /has mapped/);
  });

  test('no snapshot is taken of a guest that has not said HELLO, owes an answer or was invoked', async () => {
    const body = { snapshot_path: 's', mem_file_path: 'm' };
    // On a busy host a guest may be up before it is paused.
    const answers: string[] = [];
    while (answers.length < 10 && !/not up yet/.test(answers.at(-1) ?? '')) {
      const early = await bench.start();
      await boot(early);
      await early.ok('PATCH', '/vm', { state: 'Paused' });
      answers.push((await early.request('PUT', '/snapshot/create', body)).body);
    }
    assert.match(answers.at(-1) ?? '', /not up yet/);
    const used = await bootedToHello();
    const control = await used.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(control);
    await startFunction(control, false);
    await invoke(await used.dialGuest(FUNCTION_VSOCK_PORT), 1);
    await used.ok('PATCH', '/vm', { state: 'Paused' });
    assert.match((await used.request('PUT', '/snapshot/create', body)).body, /has been invoked/);
  });
});

describe('fake snapshots: loads that fail', () => {
  test('only a fresh process loads; another refuses and lives on', async () => {
    const base = await baseSnapshot();
    const fake = await bench.start();
    // Even one that was refused makes the process one that boots.
    assert.equal((await fake.request('PUT', '/boot-source', { kernel_image_path: 'none' })).status, 400);
    const { status, body } = await fake.request('PUT', '/snapshot/load', loadBody(base));
    assert.equal(status, 400);
    assert.match(body, /not allowed after configuring/);
    assert.equal((await fake.request('GET', '/')).status, 200);
  });

  test('logger and metrics may be set before', async () => {
    const base = await baseSnapshot();
    const fake = await bench.start();
    await fake.ok('PUT', '/logger', { level: 'Info' });
    await fake.ok('PUT', '/metrics', { metrics_path: 'metrics' });
    await fake.ok('PUT', '/snapshot/load', loadBody(base));
    await fake.ok('PUT', '/actions', { action_type: 'FlushMetrics' });
    assert.match(readFileSync(join(fake.directory, 'metrics'), 'utf8'), /^\{.*\}\n$/);
  });

  test('of a malformed body, the process lives on', async () => {
    const fake = await bench.start();
    for (const body of [
      { snapshot_path: 's' },
      { snapshot_path: 's', mem_file_path: 'm', mem_backend: { backend_type: 'File', backend_path: 'm' } },
      { snapshot_path: 's', mem_backend: { backend_type: 'file', backend_path: 'm' } },
    ]) {
      assert.equal((await fake.request('PUT', '/snapshot/load', body)).status, 400);
    }
    assert.equal((await fake.request('GET', '/')).status, 200);
  });

  test('missing files, damage, another format, another size', async () => {
    const base = await baseSnapshot();
    await refusedLoad(
      /^Load snapshot error: No such file or directory \(os error 2\)/,
      loadBody({ ...base, state: 'none' }),
    );
    await refusedLoad(
      /^Load snapshot error: No such file or directory \(os error 2\)/,
      loadBody({ ...base, memory: 'none' }),
    );
    const damaged = join(bench.directory, 'damaged.state');
    const bytes = readFileSync(base.state);
    bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40);
    writeFileSync(damaged, bytes);
    await refusedLoad(/checksum/, loadBody({ ...base, state: damaged }));
    const older = readFileSync(base.state);
    older.writeUInt16BE(9, 8);
    writeFileSync(damaged, older);
    await refusedLoad(/snapshot format 9\.0\.0/, loadBody({ ...base, state: damaged }));
    const short = join(bench.directory, 'short.mem');
    copyFileSync(base.memory, short);
    truncateSync(short, MEMORY_BYTES - 4096);
    await refusedLoad(/bytes, the state file was saved with/, loadBody({ ...base, memory: short }));
  });

  test('the wall clock of KVM is in no snapshot', async () => {
    await refusedLoad(/clock_realtime is not in the snapshot/, {
      ...loadBody(await baseSnapshot()),
      clock_realtime: true,
    });
  });

  test('recorded paths are opened again exactly as they were', async () => {
    const base = await baseSnapshot();
    await refusedLoad(/No such file or directory \(os error 2\).*rootfs\.ext4/, loadBody(base), async (fake) => {
      rmSync(join(fake.directory, 'rootfs.ext4'));
      return Promise.resolve();
    });
    await refusedLoad(/Address already in use \(os error 98\)/, loadBody(base), async (fake) => {
      writeFileSync(join(fake.directory, 'v.sock'), '');
      return Promise.resolve();
    });
    await refusedLoad(/no eth0/, {
      ...loadBody(base),
      network_overrides: [{ iface_id: 'eth0', host_dev_name: 'tap0' }],
    });
  });

  test('the socket can be another one than recorded', async () => {
    const fake = await restored(await baseSnapshot(), { vsock_override: { uds_path: 'w.sock' } });
    await loadFunction(await fake.dialGuest(CONTROL_VSOCK_PORT, 'w.sock'));
  });
});

describe('fake snapshots: the files', () => {
  test('a full snapshot has no holes, and both files are readable for others', async () => {
    const base = await baseSnapshot();
    const { size, blocks, mode } = statSync(base.memory);
    assert.ok(blocks * 512 >= size, `${blocks} blocks of 512 bytes for ${size} bytes`);
    const usual = join(bench.directory, 'usual');
    writeFileSync(usual, '');
    assert.deepEqual([mode, statSync(base.state).mode], [statSync(usual).mode, statSync(usual).mode]);
  });
});

describe('fake snapshots: the memory file of a live machine', () => {
  test('is cut: the machine dies with 149 at once', async () => {
    const base = await baseSnapshot();
    const fake = await restored(base);
    truncateSync(base.memory, 4096);
    assert.equal((await fake.exited).status, 149);
  });

  const changes: readonly (readonly [string, (path: string) => void])[] = [
    ['is written to', (path) => appendFileSync(path, 'x')],
    ['is cut', (path) => truncateSync(path, 0)],
    ['is touched', (path) => utimesSync(path, new Date(), new Date())],
  ];
  for (const [what, change] of changes) {
    test(`${what}: the machine dies with 149 at the next connection`, async () => {
      const base = await baseSnapshot();
      const fake = await restored(base);
      await loadFunction(await fake.dialGuest(CONTROL_VSOCK_PORT));
      change(base.memory);
      await assert.rejects(fake.dialGuest(FUNCTION_VSOCK_PORT));
      assert.equal((await fake.exited).status, 149);
      assert.match(fake.stderr, /memory file of a live machine was changed/);
      assert.ok(bench.journal().some((line) => line.pid === fake.child.pid && line.event === 'memory-changed'));
    });
  }

  test('the machine dies at the next request as well', async () => {
    const base = await baseSnapshot();
    const fake = await restored(base);
    const control = await fake.dialGuest(CONTROL_VSOCK_PORT);
    await loadFunction(control);
    await startFunction(control, true);
    const port = await fake.dialGuest(FUNCTION_VSOCK_PORT);
    await invoke(port, 1);
    appendFileSync(base.memory, 'x');
    await assert.rejects(invoke(port, 2));
    assert.equal((await fake.exited).status, 149);
  });

  test('may be removed', async () => {
    const base = await baseSnapshot();
    const fake = await restored(base);
    rmSync(base.memory);
    await loadFunction(await fake.dialGuest(CONTROL_VSOCK_PORT));
  });
});
