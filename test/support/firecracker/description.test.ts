import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { validateRequest } from './validate-request.ts';

const LOAD = { snapshot_path: 'state', mem_backend: { backend_type: 'File', backend_path: 'mem' } };
const DRIVE = { drive_id: 'rootfs', path_on_host: 'r.ext4', is_root_device: false, is_read_only: true };

describe('validateRequest', () => {
  test('finds nothing in requests as they should be', () => {
    for (const [method, path, body] of [
      ['GET', '/', undefined],
      ['PUT', '/machine-config', { vcpu_count: 1, mem_size_mib: 128, smt: false, track_dirty_pages: true }],
      ['PUT', '/boot-source', { kernel_image_path: 'vmlinux', initrd_path: 'initrd.cpio', boot_args: 'quiet' }],
      ['PUT', '/drives/rootfs', { ...DRIVE, cache_type: 'Unsafe', io_engine: 'Sync' }],
      ['PUT', '/vsock', { guest_cid: 3, uds_path: 'v.sock' }],
      ['PUT', '/entropy', {}],
      ['PUT', '/network-interfaces/eth0', { iface_id: 'eth0', host_dev_name: 'tap0', guest_mac: '06:00:00:00:00:01' }],
      ['PUT', '/actions', { action_type: 'InstanceStart' }],
      ['PATCH', '/vm', { state: 'Paused' }],
      ['PUT', '/snapshot/create', { snapshot_type: 'Diff', snapshot_path: 's', mem_file_path: 'm' }],
      [
        'PUT',
        '/snapshot/load',
        { ...LOAD, resume_vm: true, vsock_override: { uds_path: 'v.sock' }, clock_realtime: true },
      ],
      ['PUT', '/mmds', { whatever: { is: ['stored'] } }],
    ] as const) {
      assert.deepEqual(validateRequest(method, path, body), [], `${method} ${path}`);
    }
  });

  test('closes objects at every depth', () => {
    assert.match(String(validateRequest('PUT', '/snapshot/load', { ...LOAD, resume: true })), /unknown field `resume`/);
    const backend = { ...LOAD.mem_backend, shared: true };
    assert.match(String(validateRequest('PUT', '/snapshot/load', { ...LOAD, mem_backend: backend })), /`shared`/);
    const override = { uds_path: 'v.sock', mode: 384 };
    assert.match(String(validateRequest('PUT', '/snapshot/load', { ...LOAD, vsock_override: override })), /`mode`/);
    assert.match(String(validateRequest('PUT', '/entropy', { constructor: 1 })), /unknown field `constructor`/);
  });

  test('tells deprecated members', () => {
    const body = { guest_cid: 3, uds_path: 'v.sock', vsock_id: 'v' };
    assert.deepEqual(validateRequest('PUT', '/vsock', body), ['body: `vsock_id` is deprecated']);
    const old = { snapshot_path: 's', mem_file_path: 'm' };
    assert.deepEqual(validateRequest('PUT', '/snapshot/load', old), ['body: `mem_file_path` is deprecated']);
  });

  test('knows what the description says in prose only', () => {
    assert.match(String(validateRequest('PUT', '/snapshot/load', { ...LOAD, mem_file_path: 'm' })), /exclusively/);
    const incomplete = { drive_id: 'rootfs', path_on_host: 'r.ext4', is_root_device: false };
    assert.match(String(validateRequest('PUT', '/drives/rootfs', incomplete)), /missing field `is_read_only`/);
    assert.deepEqual(validateRequest('PATCH', '/machine-config', { smt: false }), []);
    assert.match(String(validateRequest('PUT', '/machine-config', { vcpu_count: 1 })), /missing field `mem_size_mib`/);
  });

  test('knows which version brought a member', () => {
    const body = { ...LOAD, clock_realtime: true };
    assert.deepEqual(validateRequest('PUT', '/snapshot/load', body, '1.16.0'), []);
    assert.match(String(validateRequest('PUT', '/snapshot/load', body, '1.15.2')), /unknown field `clock_realtime`/);
    const networks = { ...LOAD, network_overrides: [{ iface_id: 'eth0', host_dev_name: 'tap1' }] };
    assert.deepEqual(validateRequest('PUT', '/snapshot/load', networks, '1.12.0'), []);
    assert.match(String(validateRequest('PUT', '/snapshot/load', networks, '1.11.0')), /network_overrides/);
  });
});
