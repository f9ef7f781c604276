/** Making a function's layer, its size on disk, and restoring from it when its memory is not in the page cache. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launchVm } from '../../src/firerunner/launch.ts';
import { openRunDirectory, type RunDirectory } from '../../src/firerunner/run-directory.ts';
import { Snapshots, type Restorable } from '../../src/firerunner/snapshots/snapshots.ts';
import { SnapshotStore } from '../../src/firerunner/snapshots/store.ts';
import { chooseVmm } from '../../src/firerunner/vmm-choice.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import type { Driver } from '../../src/firerunner/machine.ts';
import { packApp } from '../../src/images/app-image.ts';
import { stageApp } from '../../src/images/app-stage.ts';
import { FunctionChannel } from '../../src/protocol/function-channel.ts';
import type { LaunchSpec } from '../../src/protocol/runner.ts';
import { IMAGES } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';
import { EVENT, HELLO, type Measured } from '../support/hello.ts';

const BUILDS = 10;
const ROUNDS = 30;
const MIB = 1024 * 1024;

export const layers: Benchmark = {
  name: 'layers',
  async run() {
    const [kernelPath, initrdPath] = [join(IMAGES, 'vmlinux'), join(IMAGES, 'initrd.cpio')];
    const place = mkdtempSync(join(tmpdir(), 'snapfaas-bench-'));
    const directory = await openRunDirectory();
    const { driver } = await chooseVmm({
      ...{ vmm: 'qemu', accelerator: 'auto', guest: { kernelPath, initrdPath }, settings: NO_SETTINGS },
      ...{ directory, say: () => undefined },
    });
    const ended = new AbortController();
    const snapshots = new Snapshots(driver, directory, null, ended.signal);
    try {
      const specOf = (name: string, fn: Measured): Promise<LaunchSpec> => launchSpec(place, name, fn);
      return [
        ...(await builds(snapshots, specOf, join(place, 'store'))),
        ...(await uncached(snapshots, driver, directory, await specOf('python3', HELLO.python3))),
      ];
    } finally {
      ended.abort(new Error('the benchmark is over'));
      await snapshots.close();
      directory.close();
      rmSync(place, { recursive: true });
    }
  },
};

async function launchSpec(place: string, name: string, { runtime, files }: Measured): Promise<LaunchSpec> {
  const app = join(place, 'apps', name);
  mkdirSync(app, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(app, file), text);
  return {
    machine: {
      memoryMib: 128,
      vcpus: 1,
      kernelPath: join(IMAGES, 'vmlinux'),
      initrdPath: join(IMAGES, 'initrd.cpio'),
      rootfsPath: join(IMAGES, 'runtimefs', `${runtime}.ext4`),
      appfsPath: (await packApp(await stageApp(app))).image,
      kernelArgs: '',
      runtime,
      network: false,
    },
    function: { name, version: '$LATEST', handler: null, environment: {}, arn: '' },
    bootTimeoutMs: 60_000,
    snapshots: { kind: 'store', directory: join(place, 'store') },
  };
}

async function builds(
  snapshots: Snapshots,
  specOf: (name: string, fn: Measured) => Promise<LaunchSpec>,
  store: string,
): Promise<Result[]> {
  const took: number[] = [];
  for (let i = 0; i <= BUILDS; i += 1) {
    const { builtMs } = await snapshots.prepare(await specOf(`build-${i}`, HELLO.python3));
    if (builtMs === null) throw new Error('the layer was there already');
    // The first one waited for the base layer.
    if (i > 0) took.push(builtMs / 1000);
  }
  const sizes = (await new SnapshotStore(store).list())
    .filter(({ kind }) => kind === 'function')
    .map(({ bytes }) => bytes / MIB);
  return [
    result(
      'deploy-python3',
      median(took),
      's',
      { at: 'most', value: 2.5 },
      took,
      `function layer made: ${summary(took)} s`,
    ),
    result(
      'layer-size-python3',
      median(sizes),
      'MB',
      { at: 'most', value: 15 },
      sizes,
      `on disk: ${summary(sizes)} MB`,
    ),
  ];
}

/** Launch to first response with the snapshot's memory dropped from the page cache before each. */
async function uncached(
  snapshots: Snapshots,
  driver: Driver,
  directory: RunDirectory,
  spec: LaunchSpec,
): Promise<Result[]> {
  await snapshots.prepare(spec);
  const { snapshot } = await snapshots.forLaunch(spec);
  if (snapshot === null) throw new Error('there is no snapshot');
  const { restorable } = snapshot;
  let count = 0;
  const start = async (prepare: () => void): Promise<number> => {
    const name = `uncached-${++count}`;
    const dialled: Promise<FunctionChannel>[] = [];
    const began = performance.now();
    prepare();
    const vm = await launchVm({
      driver,
      spec,
      from: restorable.guest,
      directory: await directory.create(name),
      taps: null,
      observer: {
        onChannel: (path) => void dialled.push(FunctionChannel.connect(path)),
        onLog: () => null,
        onRuntimeExited: () => undefined,
      },
      signal: new AbortController().signal,
    });
    const [channel] = await Promise.all(dialled);
    await channel?.invoke({ id: name, deadline_ms: Date.now() + 10_000 }, Buffer.from(JSON.stringify(EVENT)));
    const took = performance.now() - began;
    await restorable.recordWorkingSet(vm.machine);
    const { exited } = vm;
    await vm.kill();
    await exited;
    directory.remove(name);
    return took;
  };
  // The first one records the working set.
  await start(() => undefined);
  const samples = { cached: [] as number[], without: [] as number[], ahead: [] as number[] };
  for (let round = 0; round < ROUNDS; round += 1) {
    samples.cached.push(await start(() => undefined));
    await dropFromPageCache(restorable);
    samples.without.push(await start(() => undefined));
    await dropFromPageCache(restorable);
    samples.ahead.push(await start(() => restorable.readAhead()));
  }
  const { cached, without, ahead } = samples;
  const note = `ms: with working set ${summary(ahead)}; without ${summary(without)}; cached ${summary(cached)}`;
  const ratios = ahead.map((value) => value / median(without));
  const value = median(ahead) / median(without);
  return [result('uncached-working-set', value, 'ratio', { at: 'most', value: 0.5 }, ratios, note)];
}

/** Writes the memory to its disk first: what is dirty stays in the cache. */
async function dropFromPageCache(restorable: Restorable): Promise<void> {
  const { handle } = restorable.memory;
  await handle.sync();
  execFileSync('dd', [`if=/proc/${process.pid}/fd/${handle.fd}`, 'iflag=nocache', 'count=0', 'status=none']);
}
