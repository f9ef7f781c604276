/** Everything that is sent to Firecracker, against Firecracker's own description of its API: a drift is found here. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  bootRequests,
  loadRequest,
  probeRequests,
  snapshotRequests,
  type ApiRequest,
} from '../../../src/firerunner/firecracker/bodies.ts';
import type { MachineSpec } from '../../../src/protocol/runner.ts';
import { validateRequest } from '../../support/firecracker/validate-request.ts';

const MACHINE: MachineSpec = {
  ...{ memoryMib: 256, vcpus: 2, kernelPath: '/k', initrdPath: '/i', rootfsPath: '/r', appfsPath: '/a' },
  ...{ kernelArgs: 'mitigations=off', runtime: 'python3', network: true },
};
const NETWORK = { tapName: 'tap3', mac: '06:00:0a:c8:00:02' };

const ALL: readonly (readonly [name: string, requests: readonly ApiRequest[]])[] = [
  ['boot', bootRequests(MACHINE, null)],
  ['boot without an app file system', bootRequests({ ...MACHINE, appfsPath: null }, null)],
  ['boot with a network', bootRequests(MACHINE, NETWORK)],
  ['probe', probeRequests(128)],
  ['load', [loadRequest(null, false)]],
  ['load for a diff', [loadRequest(null, true)]],
  ['load with a network', [loadRequest(NETWORK, false)]],
  ['full snapshot', snapshotRequests('Full')],
  ['diff snapshot', snapshotRequests('Diff')],
];

describe('requests to Firecracker', () => {
  for (const [name, requests] of ALL) {
    test(`${name}: known, complete, and nothing deprecated`, () => {
      for (const { method, path, body } of requests) {
        assert.deepEqual(validateRequest(method, path, body), [], `${method} ${path} ${JSON.stringify(body)}`);
      }
    });
  }

  test('the description finds a member that does not exist, and one that is missing', () => {
    const [config] = bootRequests(MACHINE, null);
    assert.ok(config !== undefined);
    assert.notDeepEqual(validateRequest('PUT', config.path, { ...config.body, memory: 1 }), []);
    assert.notDeepEqual(validateRequest('PUT', config.path, { ...config.body, vcpu_count: undefined }), []);
  });

  test('a machine is described in the order of its parts, and started last', () => {
    assert.deepEqual(
      bootRequests(MACHINE, NETWORK).map(({ path }) => path),
      [
        ...['/machine-config', '/boot-source', '/drives/rootfs', '/drives/appfs', '/network-interfaces/eth0'],
        ...['/vsock', '/entropy', '/actions'],
      ],
    );
  });

  test('the kernel may load modules, writes to no serial port, and ends the VMM when it stops', () => {
    const args = String(bootRequests(MACHINE, null)[1]?.body['boot_args']).split(' ');
    assert.ok(!args.includes('nomodule') && !args.some((arg) => arg.startsWith('console=')));
    for (const arg of ['8250.nr_uarts=0', 'reboot=k', 'panic=1']) assert.ok(args.includes(arg), arg);
    assert.equal(args.at(-1), 'mitigations=off');
  });

  test('all paths are relative, so that a snapshot loads in another directory', () => {
    for (const [, requests] of ALL) {
      const bodies = JSON.stringify(requests.map(({ body }) => body));
      for (const text of bodies.matchAll(/"[a-z_]*path[a-z_]*":"([^"]*)"/g)) {
        assert.match(text[1] ?? '', /^[a-z0-9.]+$/);
      }
    }
  });

  test('a load asks for nothing that only some hosts can do: KVM’s wall clock is not in every snapshot', () => {
    for (const [name, requests] of ALL) {
      assert.ok(!requests.some(({ body }) => 'clock_realtime' in body), name);
    }
  });

  test('dirty pages are tracked only where a diff is to be made', () => {
    assert.equal(loadRequest(null, true).body['track_dirty_pages'], true);
    assert.equal(loadRequest(null, false).body['track_dirty_pages'], false);
    assert.equal(bootRequests(MACHINE, null)[0]?.body['track_dirty_pages'], false);
  });
});
