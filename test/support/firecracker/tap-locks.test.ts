/** TAP devices need root: without it these tests are skipped, and say so. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CONTROL_VSOCK_PORT, FrameType } from '../../../src/protocol/guest.ts';
import { BenchOfMachines, configure, loadBody, loadFunction, pauseAndSave } from './bench-of-machines.ts';
import type { FakeProcess } from './fake-process.ts';

const TAPS = [`sf${process.pid}a`, `sf${process.pid}b`] as const;
const skip = process.getuid?.() === 0 ? false : 'TAP devices need root';

describe('fake network interfaces', { skip }, () => {
  let bench: BenchOfMachines;
  before(async () => {
    bench = await BenchOfMachines.make();
    for (const name of TAPS) execFileSync('ip', ['tuntap', 'add', 'dev', name, 'mode', 'tap']);
  });
  after(async () => {
    for (const name of TAPS) execFileSync('ip', ['link', 'del', name]);
    await bench.remove();
  });

  const start = (): Promise<FakeProcess> =>
    bench.start(bench.makeDirectory(), { FAKE_FIRECRACKER_TAP_LOCKS: join(bench.directory, 'locks') });
  const interfaceOn = (tap: string): object => ({ iface_id: 'eth0', host_dev_name: tap });

  test('a TAP device has one holder, and is free when that is dead', async () => {
    const first = await start();
    await first.ok('PUT', '/network-interfaces/eth0', interfaceOn(TAPS[0]));
    const second = await start();
    const { status, body } = await second.request('PUT', '/network-interfaces/eth0', interfaceOn(TAPS[0]));
    assert.equal(status, 400);
    assert.match(body, new RegExp(`busy: process ${first.child.pid}`));
    await second.ok('PUT', '/network-interfaces/eth0', interfaceOn(TAPS[1]));
    await first.kill();
    const third = await start();
    await third.ok('PUT', '/network-interfaces/eth0', interfaceOn(TAPS[0]));
    await second.kill();
    await third.kill();
    assert.deepEqual(
      readdirSync(join(bench.directory, 'locks')).filter((name) => /\.\d+$/.test(name)),
      [],
    );
  });

  test('a device with several queues is refused', async () => {
    const name = `sf${process.pid}q`;
    execFileSync('ip', ['tuntap', 'add', 'dev', name, 'mode', 'tap', 'multi_queue']);
    try {
      const { body } = await (await start()).request('PUT', '/network-interfaces/eth0', interfaceOn(name));
      assert.match(body, /several queues/);
    } finally {
      execFileSync('ip', ['link', 'del', name]);
    }
  });

  test('a snapshot names the device it had; a load takes it or another one', async () => {
    const source = await start();
    await configure(source);
    await source.ok('PUT', '/network-interfaces/eth0', { ...interfaceOn(TAPS[0]), guest_mac: '06:00:ac:10:00:02' });
    await source.ok('PUT', '/actions', { action_type: 'InstanceStart' });
    await (await source.dialGuest(CONTROL_VSOCK_PORT)).next(FrameType.hello);
    const files = await pauseAndSave(source, 'Full');

    const same = await start();
    assert.match((await same.request('PUT', '/snapshot/load', loadBody(files))).body, /busy/);
    assert.equal((await same.exited).status, 1);
    const other = await start();
    const overrides = { network_overrides: [{ iface_id: 'eth0', host_dev_name: TAPS[1] }] };
    await other.ok('PUT', '/snapshot/load', { ...loadBody(files), ...overrides });
    await loadFunction(await other.dialGuest(CONTROL_VSOCK_PORT));
  });
});
