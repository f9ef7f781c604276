import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Socket } from 'node:net';
import { BenchOfMachines, boot, configure } from './bench-of-machines.ts';
import { readAnswer, type FakeProcess } from './fake-process.ts';

let bench: BenchOfMachines;
before(async () => {
  bench = await BenchOfMachines.make();
});
after(() => bench.remove());

function faultOf(body: string): string {
  return (JSON.parse(body) as { fault_message: string }).fault_message;
}

async function refused(fake: FakeProcess, method: string, path: string, body: unknown, why: RegExp): Promise<void> {
  const answer = await fake.request(method, path, body);
  assert.equal(answer.status, 400, `${method} ${path} ${JSON.stringify(body)}: ${answer.head}`);
  assert.match(faultOf(answer.body), why);
}

describe('fake firecracker: bare HTTP', () => {
  let fake: FakeProcess;
  before(async () => {
    fake = await bench.start();
  });

  test('answers 204 without reason phrase, length and body', async () => {
    const { head } = await fake.request('PUT', '/entropy', {});
    assert.match(head, /^HTTP\/1\.1 204 \r\n/);
    assert.doesNotMatch(head, /content-length/i);
  });

  test('answers GETs with JSON', async () => {
    const { status, body } = await fake.request('GET', '/');
    assert.equal(status, 200);
    const expected = { id: 'vm-1', state: 'Not started', vmm_version: '1.16.1', app_name: 'Firecracker' };
    assert.deepEqual(JSON.parse(body), expected);
    assert.deepEqual(JSON.parse((await fake.request('GET', '/version')).body), { firecracker_version: '1.16.1' });
  });

  test('refuses a body that is chunked, or has no length', async () => {
    const chunked = 'PUT /entropy HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n';
    assert.equal((await fake.raw(chunked)).status, 400);
    const { status, body } = await fake.raw('PUT /entropy HTTP/1.1\r\n\r\n');
    assert.equal(status, 400);
    assert.match(faultOf(body), /Empty PUT request/);
  });

  test('refuses a GET with a body, and methods and paths that are not there', async () => {
    await refused(fake, 'GET', '/', {}, /cannot have a body/);
    await refused(fake, 'PUT', '/nowhere', {}, /Invalid request method and\/or path/);
    await refused(fake, 'DELETE', '/drives/rootfs', undefined, /Invalid request method and\/or path/);
    await refused(fake, 'GET', '/entropy', undefined, /Invalid request method and\/or path/);
  });

  test('takes a body of 51200 bytes and no byte more', async () => {
    const body = (bytes: number): string => `{"metrics_path":"${'m'.repeat(bytes - 19)}"}`;
    const head = (bytes: number): string => `PUT /metrics HTTP/1.1\r\nContent-Length: ${bytes}\r\n\r\n`;
    const most = await fake.raw(head(51200) + body(51200));
    assert.match(faultOf(most.body), /^Metrics error: Name too long \(os error 36\)/);
    const over = await fake.raw(head(51201) + body(51201));
    assert.equal(over.status, 400);
    assert.throws(() => JSON.parse(over.body), 'an HTTP error is no valid JSON');
    assert.match(over.body, /larger than the limit of 51200/);
  });

  test('refuses a header line of 1024 bytes', async () => {
    const line = (bytes: number): string => `GET / HTTP/1.1\r\nX-Long: ${'x'.repeat(bytes - 10)}\r\n\r\n`;
    assert.equal((await fake.raw(line(1023))).status, 200);
    assert.equal((await fake.raw(line(1024))).status, 400);
  });

  test('answers 503 to the eleventh connection, and serves the ten', async () => {
    const ten: Socket[] = [];
    for (let count = 0; count < 10; count++) {
      const socket = await fake.dialApi();
      socket.write('GET / HTTP/1.1\r\n\r\n');
      assert.equal((await readAnswer(socket)).status, 200);
      ten.push(socket);
    }
    const eleventh = await fake.dialApi();
    assert.match((await readAnswer(eleventh)).head, /^HTTP\/1\.1 503\r\n/);
    eleventh.destroy();
    for (const socket of ten) socket.destroy();
  });

  test('drops the answer of a client that ends its side early', async () => {
    const slow = JSON.stringify({ at: 'GET /', do: 'delay', ms: 200 });
    const socket = await (await bench.start(bench.makeDirectory(), { FAKE_FIRECRACKER_FAULT: slow })).dialApi();
    const answer = readAnswer(socket);
    socket.end('GET / HTTP/1.1\r\n\r\n');
    await assert.rejects(answer, /closed without an answer/);
  });

  test('serves many requests on one connection', async () => {
    const socket = await fake.dialApi();
    for (let count = 0; count < 3; count++) {
      socket.write('GET /version HTTP/1.1\r\n\r\n');
      assert.equal((await readAnswer(socket)).status, 200);
    }
    socket.destroy();
  });
});

describe('fake firecracker: what a body may hold', () => {
  let fake: FakeProcess;
  before(async () => {
    fake = await bench.start();
  });

  test('refuses unknown keys, wrong types and missing fields', async () => {
    const machine = { vcpu_count: 1, mem_size_mib: 128 };
    await refused(fake, 'PUT', '/machine-config', { ...machine, ht_enabled: false }, /unknown field `ht_enabled`/);
    await refused(fake, 'PUT', '/machine-config', { ...machine, vcpu_count: '1' }, /invalid type: string/);
    await refused(fake, 'PUT', '/machine-config', { ...machine, smt: null }, /invalid type: null/);
    await refused(fake, 'PUT', '/machine-config', { vcpu_count: 1 }, /missing field `mem_size_mib`/);
    await refused(fake, 'PUT', '/machine-config', { ...machine, vcpu_count: 33 }, /not in 1 to 32/);
    await refused(fake, 'PATCH', '/machine-config', { vcpus: 1 }, /unknown field/);
    await fake.ok('PATCH', '/machine-config', { mem_size_mib: 256 });
  });

  test('refuses another id in the body than in the path, and odd ids', async () => {
    const drive = { drive_id: 'rootfs', path_on_host: 'rootfs.ext4', is_root_device: false, is_read_only: true };
    await refused(fake, 'PUT', '/drives/other', drive, /the id in the path/);
    await refused(fake, 'PUT', '/drives/root-fs', { ...drive, drive_id: 'root-fs' }, /Invalid API resource ID/);
  });

  test('takes enums in their case only, but for the log level', async () => {
    await refused(fake, 'PUT', '/actions', { action_type: 'instancestart' }, /unknown variant/);
    await fake.ok('PUT', '/logger', { level: 'wArNiNg' });
  });

  test('refuses what is no JSON', async () => {
    const { status, body } = await fake.raw('PUT /entropy HTTP/1.1\r\nContent-Length: 2\r\n\r\n{]');
    assert.equal(status, 400);
    assert.match(faultOf(body), /deserializing/);
  });

  test('marks answers to deprecated members', async () => {
    const { status, head } = await fake.request('PUT', '/vsock', { vsock_id: 'v', guest_cid: 3, uds_path: 'd.sock' });
    assert.equal(status, 204);
    assert.match(head, /\r\nDeprecation: true/);
    assert.doesNotMatch((await fake.request('PUT', '/entropy', {})).head, /Deprecation/);
  });
});

describe('fake firecracker: which request comes when', () => {
  test('before the start: takes the configuration, refuses what needs a machine', async () => {
    const fake = await bench.start();
    for (const [method, path, body] of [
      ['PUT', '/serial', {}],
      ['PUT', '/mmds', { some: 'data' }],
      ['PUT', '/balloon', { amount_mib: 1, deflate_on_oom: true }],
      ['PUT', '/pmem/p0', { id: 'p0', path_on_host: 'app.ext4' }],
      ['PUT', '/cpu-config', {}],
      ['PUT', '/logger', {}],
      ['PUT', '/metrics', { metrics_path: 'metrics' }],
    ] as const) {
      await fake.ok(method, path, body);
    }
    const before = /not supported before starting/;
    await refused(fake, 'PATCH', '/vm', { state: 'Paused' }, before);
    await refused(fake, 'PATCH', '/drives/rootfs', { drive_id: 'rootfs', path_on_host: 'app.ext4' }, before);
    await refused(fake, 'PATCH', '/network-interfaces/eth0', { iface_id: 'eth0' }, before);
    await refused(fake, 'PUT', '/snapshot/create', { snapshot_path: 's', mem_file_path: 'm' }, before);
    await refused(fake, 'PUT', '/actions', { action_type: 'FlushMetrics' }, before);
    await refused(fake, 'PUT', '/actions', { action_type: 'SendCtrlAltDel' }, before);
    await refused(fake, 'PUT', '/actions', { action_type: 'InstanceStart' }, /without kernel configuration/);
    for (const path of ['/', '/version', '/machine-config', '/vm/config']) {
      assert.equal((await fake.request('GET', path)).status, 200);
    }
  });

  test('after the start: takes pause, resume and drives, refuses the configuration', async () => {
    const fake = await bench.start();
    await boot(fake);
    const control = await fake.dialGuest(1025);
    await control.next();
    const after = /not supported after starting/;
    for (const [path, body] of [
      ['/boot-source', { kernel_image_path: 'vmlinux' }],
      ['/machine-config', { vcpu_count: 1, mem_size_mib: 128 }],
      ['/vsock', { guest_cid: 3, uds_path: 'w.sock' }],
      ['/drives/rootfs', { drive_id: 'rootfs', path_on_host: 'app.ext4', is_root_device: false, is_read_only: true }],
      ['/network-interfaces/eth0', { iface_id: 'eth0', host_dev_name: 'tap0' }],
      ['/pmem/p0', { id: 'p0', path_on_host: 'app.ext4' }],
      ['/balloon', { amount_mib: 1, deflate_on_oom: true }],
      ['/entropy', {}],
      ['/logger', {}],
      ['/metrics', { metrics_path: 'metrics' }],
      ['/serial', {}],
      ['/cpu-config', {}],
      ['/snapshot/load', { snapshot_path: 's', mem_backend: { backend_type: 'File', backend_path: 'm' } }],
      ['/actions', { action_type: 'InstanceStart' }],
    ] as const) {
      await refused(fake, 'PUT', path, body, after);
    }
    await refused(fake, 'PUT', '/snapshot/create', { snapshot_path: 's', mem_file_path: 'm' }, /pause it first/);
    await refused(fake, 'PUT', '/actions', { action_type: 'FlushMetrics' }, /not set up/);
    for (const path of ['/', '/version', '/machine-config', '/vm/config']) {
      assert.equal((await fake.request('GET', path)).status, 200);
    }
    await fake.ok('PATCH', '/drives/appfs', { drive_id: 'appfs', path_on_host: 'rootfs.ext4' });
    await refused(fake, 'PATCH', '/drives/rootfs', { drive_id: 'rootfs', path_on_host: 'app.ext4' }, /has mounted/);
    for (const state of ['Paused', 'Paused', 'Resumed', 'Resumed'] as const) {
      await fake.ok('PATCH', '/vm', { state });
      const expected = state === 'Paused' ? 'Paused' : 'Running';
      assert.equal((JSON.parse((await fake.request('GET', '/')).body) as { state: string }).state, expected);
    }
  });

  test('opens kernel, initrd and drives when they are named', async () => {
    const fake = await bench.start();
    const missing = /^(Boot source|Drive config) error: No such file or directory \(os error 2\)/;
    await refused(fake, 'PUT', '/boot-source', { kernel_image_path: 'none' }, missing);
    await refused(fake, 'PUT', '/boot-source', { kernel_image_path: 'vmlinux', initrd_path: 'none' }, missing);
    await refused(fake, 'PUT', '/boot-source', { kernel_image_path: 'initrd.cpio' }, /no uncompressed ELF kernel/);
    const drive = { drive_id: 'rootfs', path_on_host: 'none', is_root_device: false, is_read_only: true };
    await refused(fake, 'PUT', '/drives/rootfs', drive, missing);
  });

  test('refuses boot arguments with which the guest would not come up', async () => {
    for (const bootArgs of ['quiet nomodule', undefined]) {
      const fake = await bench.start();
      await configure(fake);
      const boot = { kernel_image_path: 'vmlinux', initrd_path: 'initrd.cpio' };
      await fake.ok('PUT', '/boot-source', bootArgs === undefined ? boot : { ...boot, boot_args: bootArgs });
      await refused(fake, 'PUT', '/actions', { action_type: 'InstanceStart' }, /nomodule/);
    }
  });

  test('refuses a host device that is not there or is no TAP device', async () => {
    const fake = await bench.start();
    const interfaceOf = (host: string): unknown => ({ iface_id: 'eth0', host_dev_name: host });
    await refused(fake, 'PUT', '/network-interfaces/eth0', interfaceOf('no-such-tap'), /there is no interface/);
    await refused(fake, 'PUT', '/network-interfaces/eth0', interfaceOf('lo'), /no TAP device/);
  });

  test('binds the vsock at its PUT, refuses a path that is there, and leaves its sockets behind', async () => {
    const directory = bench.makeDirectory();
    const first = await bench.start(directory);
    await first.ok('PUT', '/vsock', { guest_cid: 3, uds_path: 'v.sock' });
    await refused(first, 'PUT', '/vsock', { guest_cid: 2, uds_path: 'w.sock' }, /not in 3/);
    await refused(first, 'PUT', '/vsock', { guest_cid: 3, uds_path: 'v'.repeat(108) }, /at most 107/);
    await first.kill();
    assert.ok(existsSync(join(directory, 'v.sock')) && existsSync(join(directory, 'api.sock')));
    const second = bench.run(['--api-sock', 'api.sock', '--id', 'vm-1'], directory);
    assert.equal((await second.exited).status, 1);
    assert.match(second.stderr, /Failed to open the API socket/);
    rmSync(join(directory, 'api.sock'));
    const third = await bench.start(directory);
    await refused(
      third,
      'PUT',
      '/vsock',
      { guest_cid: 3, uds_path: 'v.sock' },
      /^Vsock config error: Address already in use \(os error 98\)/,
    );
  });
});
