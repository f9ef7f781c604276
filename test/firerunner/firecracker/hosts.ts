/** For tests of the firecracker driver: a host with a stand-in for Firecracker, and a function to launch on it. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packApp } from '../../../src/images/app-image.ts';
import { stageApp } from '../../../src/images/app-stage.ts';
import type { Driver } from '../../../src/firerunner/machine.ts';
import { DirectoriesOnDemand, openFirecracker } from '../../../src/firerunner/firecracker/open.ts';
import type { VmObserver } from '../../../src/firerunner/guest/guest-life.ts';
import { launchVm, type RunningVm } from '../../../src/firerunner/launch.ts';
import { openRunDirectory, type RunDirectory } from '../../../src/firerunner/run-directory.ts';
import type { Restorable } from '../../../src/firerunner/snapshots/restorable.ts';
import { Semaphore } from '../../../src/firerunner/semaphore.ts';
import { Snapshots } from '../../../src/firerunner/snapshots/snapshots.ts';
import { FunctionChannel } from '../../../src/protocol/function-channel.ts';
import type { GuestAddress, LaunchSpec } from '../../../src/protocol/runner.ts';
import type { JailerSettings } from '../../../src/protocol/vmm-settings.ts';
import { childrenOf, commandOf, until } from '../../end-to-end/processes.ts';
import type { Fault } from '../../support/firecracker/faults.ts';
import { installFakeFirecracker } from '../../support/firecracker/install.ts';
import { parseJournal, type JournalLine } from '../../support/firecracker/journal.ts';
import { IMAGES } from '../../support/snapctr.ts';

const HANDLER = `calls = 0
def handle(request):
    global calls
    calls += 1
    return {'echo': request, 'calls': calls}
`;

export interface HostOptions {
  readonly prestarted?: number;
  readonly jailer?: JailerSettings;
  /** Version that Firecracker says it is. */
  readonly version?: string;
  readonly runDirectory?: string;
  /** The program is named by a link to a file of this name, as releases are often installed. */
  readonly linksTo?: string;
}

/** Reads and sets what the stand-in is told by its environment. */
function setVariable(name: string, value: string | null): void {
  if (value === null) Reflect.deleteProperty(process.env, name);
  else process.env[name] = value;
}

export class Host {
  readonly directory: string;
  readonly driver: Driver;
  readonly spec: LaunchSpec;
  /** What the driver said. */
  readonly said: readonly string[];
  readonly #runDirectory: RunDirectory;
  readonly #journal: string;
  #launched = 0;

  private constructor(
    directory: string,
    driver: Driver,
    spec: LaunchSpec,
    runDirectory: RunDirectory,
    said: readonly string[],
  ) {
    this.directory = directory;
    this.driver = driver;
    this.spec = spec;
    this.said = said;
    this.#runDirectory = runDirectory;
    this.#journal = join(directory, 'journal');
  }

  static async open(options: HostOptions = {}): Promise<Host> {
    const directory = mkdtempSync(join(tmpdir(), 'snapfaas-fc-'));
    setVariable('FAKE_FIRECRACKER_JOURNAL', join(directory, 'journal'));
    const { version } = options;
    const { firecracker } = await installFakeFirecracker(
      join(directory, 'bin'),
      version === undefined ? {} : { version },
    );
    if (options.linksTo !== undefined) {
      renameSync(firecracker, join(directory, 'bin', options.linksTo));
      symlinkSync(options.linksTo, firecracker);
    }
    const app = join(directory, 'app');
    mkdirSync(app);
    writeFileSync(join(app, 'workload.py'), HANDLER);
    const runDirectory = await openRunDirectory({ SNAPFAAS_RUN_DIR: options.runDirectory ?? join(directory, 'run') });
    const said: string[] = [];
    try {
      const settings = {
        qemu: null,
        firecracker: { path: firecracker, prestarted: options.prestarted ?? 0 },
        jailer: options.jailer ?? null,
        network: null,
      };
      const say = (text: string): void => void said.push(text);
      const directories = new DirectoriesOnDemand(settings.jailer, runDirectory.path, say);
      const driver = await openFirecracker(settings, directories, say);
      const spec = launchSpec((await packApp(await stageApp(app))).image, join(directory, 'snapshots'));
      return new Host(directory, driver, spec, runDirectory, said);
    } catch (error) {
      runDirectory.close();
      rmSync(directory, { recursive: true });
      throw error;
    }
  }

  /** From now on processes that start go wrong in this way; null: none does. */
  setFault(fault: Fault | null): void {
    setVariable('FAKE_FIRECRACKER_FAULT', fault === null ? null : JSON.stringify(fault));
  }

  /** The snapshot of another host's function, from that host's store. */
  prepareFrom(other: Host): Promise<{ readonly restorable: Restorable; close(): Promise<void> }> {
    return this.prepare(other.spec);
  }

  /** See `Snapshots`. */
  openSnapshots(
    openAtMost?: number,
    turns = new Semaphore(2),
  ): { readonly snapshots: Snapshots; close(): Promise<void> } {
    const end = new AbortController();
    const snapshots = new Snapshots(this.driver, this.#runDirectory, null, end.signal, { openAtMost, turns });
    const close = async (): Promise<void> => {
      end.abort(new Error('the test is over'));
      await snapshots.close();
    };
    return { snapshots, close };
  }

  /** The function's own snapshot, made ready. */
  async prepare(spec = this.spec): Promise<{ readonly restorable: Restorable; close(): Promise<void> }> {
    const { snapshots, close } = this.openSnapshots();
    try {
      await snapshots.prepare(spec);
      const { snapshot, reason } = await snapshots.forLaunch(spec);
      if (snapshot === null) throw new Error(`there is no snapshot: ${reason ?? ''}`);
      snapshot.release();
      return { restorable: snapshot.restorable, close };
    } catch (error) {
      await close();
      throw error;
    }
  }

  /** @param from null: booted. */
  async launch(
    from: Restorable | null,
    options: { readonly bootTimeoutMs?: number; readonly signal?: AbortSignal; readonly appfsPath?: string } = {},
  ): Promise<{ readonly vm: RunningVm; invoke(event: unknown): Promise<unknown> }> {
    const addresses: GuestAddress[] = [];
    const observer: VmObserver = {
      onChannel: (address) => void addresses.push(address),
      onLog: () => null,
      onRuntimeExited: () => undefined,
    };
    const name = `vm-${++this.#launched}`;
    const vm = await launchVm({
      driver: this.driver,
      spec: {
        ...this.spec,
        machine: { ...this.spec.machine, ...(options.appfsPath === undefined ? {} : { appfsPath: options.appfsPath }) },
        bootTimeoutMs: options.bootTimeoutMs ?? this.spec.bootTimeoutMs,
      },
      from: from?.guest ?? null,
      directory: await this.#runDirectory.create(name),
      taps: null,
      observer,
      signal: options.signal ?? new AbortController().signal,
    }).finally(() => this.#runDirectory.remove(name));
    const [address] = addresses;
    if (address === undefined) throw new Error('the driver named no function channel');
    const channel = FunctionChannel.connect(address);
    channel.catch(() => undefined);
    return {
      vm,
      invoke: async (event) => {
        const header = { id: 'r', deadline_ms: Date.now() + 10_000 };
        const reply = await (await channel).invoke(header, Buffer.from(JSON.stringify(event)));
        if (!reply.ok) throw new Error(reply.failure.message);
        return JSON.parse(reply.result.toString()) as unknown;
      },
    };
  }

  /** Waits until so many VMMs answer on their API sockets and have nothing to do. */
  async untilWaiting(count: number): Promise<void> {
    const isWaiting = (pid: number): boolean =>
      this.journal().filter((line) => line.pid === pid && line.event === 'request').length === 1;
    await until(`${count} VMMs wait`, () => this.vmms().filter(isWaiting).length >= count);
  }

  /** What the stand-ins wrote down. */
  journal(): readonly JournalLine[] {
    return existsSync(this.#journal) ? parseJournal(readFileSync(this.#journal, 'utf8')) : [];
  }

  /** Homes and other entries of the run directory. */
  directories(): readonly string[] {
    return readdirSync(this.#runDirectory.path);
  }

  /** Processes of VMMs that run. */
  vmms(): readonly number[] {
    return childrenOf(process.pid).filter((pid) => commandOf(pid).some((word) => word.includes('bundle.mjs')));
  }

  async close(): Promise<void> {
    this.setFault(null);
    await this.driver.close();
    this.#runDirectory.close();
    setVariable('FAKE_FIRECRACKER_JOURNAL', null);
    rmSync(this.directory, { recursive: true });
  }
}

function launchSpec(appfsPath: string, store: string): LaunchSpec {
  return {
    machine: {
      memoryMib: 128,
      vcpus: 1,
      kernelPath: join(IMAGES, 'vmlinux'),
      initrdPath: join(IMAGES, 'initrd.cpio'),
      rootfsPath: join(IMAGES, 'runtimefs/python3.ext4'),
      appfsPath,
      kernelArgs: '',
      runtime: 'python3',
      network: false,
    },
    function: {
      name: 'f',
      version: '$LATEST',
      handler: null,
      environment: {},
      arn: 'arn:aws:lambda:us-east-1:000000000000:function:f',
    },
    bootTimeoutMs: 20_000,
    snapshots: { kind: 'store', directory: store },
  };
}
