import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Driver } from '../../../src/firerunner/machine.ts';
import { openLayers } from '../../../src/firerunner/snapshots/by-hand.ts';
import { baseStamp, FileDigests } from '../../../src/firerunner/snapshots/stamps.ts';
import { SnapshotStore } from '../../../src/firerunner/snapshots/store.ts';
import type { LaunchSpec } from '../../../src/protocol/runner.ts';
import { ensure, sample, temporaryDirectory } from './layers.ts';

const driver = { name: 'qemu', snapshots: { stamp: () => Promise.resolve({}) } } as unknown as Driver;

/** Layers whose VMs had the state of random generators in common, and those of before. */
const OLD_RULES = [0, 1];

test('stamps: layers made by older rules are neither found in a store nor taken by hand', async () => {
  const directory = await temporaryDirectory();
  const files = ['kernel', 'initrd', 'rootfs'].map((name) => join(directory, name));
  for (const path of files) await writeFile(path, path);
  const [kernelPath, initrdPath, rootfsPath] = files;
  const machine = { kernelPath, initrdPath, rootfsPath, appfsPath: null, memoryMib: 128, vcpus: 1, network: false };
  const stamp = await baseStamp(driver, machine as unknown as LaunchSpec['machine'], new FileDigests());
  const store = new SnapshotStore(join(directory, 'store'));
  for (const rules of OLD_RULES) {
    const layer = await ensure(store, { ...stamp, rules }, sample(1).base);
    assert.equal(await store.open('base', stamp), null);
    const spec = {
      machine,
      function: { name: 'f', version: '$LATEST', handler: null, environment: {}, arn: '' },
      snapshots: { kind: 'layers', directories: [layer.directory] },
    } as unknown as LaunchSpec;
    await assert.rejects(
      openLayers(driver, spec, new FileDigests(), directory),
      new RegExp(`was made with another rules: ${rules}, now ${String(stamp['rules'])}`),
    );
  }
});
