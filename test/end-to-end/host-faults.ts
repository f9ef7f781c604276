/** Things that a host does to the processes of SnapFaaS, for `fault-rounds.ts`. Each ends by itself, or is undone. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { RunningController, Workspace } from '../support/snapctr.ts';
import { commandOf, until, vmmsOf } from './processes.ts';

export interface Scene {
  readonly controller: RunningController;
  readonly workspace: Workspace;
  /** firerunner's; null while there is none. */
  readonly runnerPid: number | null;
  /** The VMM that is meant; absent: any. */
  readonly vmm?: number;
  readonly random: () => number;
}

export interface Fault {
  readonly name: string;
  /** It is held for at most this long, in ms. */
  readonly longestMs: number;
  /** snapctr ends by it, and with it requests lose their answers. */
  readonly endsController: boolean;
  /** Why this host does not allow it; null: it does. */
  readonly lacking: () => string | null;
  /** @returns what undoes it. */
  inflict(scene: Scene): Promise<() => Promise<void>>;
}

const nothing = (): Promise<void> => Promise.resolve();
const always = (): null => null;

/** A process that may just have ended by itself. */
function signal(pid: number | null | undefined, name: NodeJS.Signals): void {
  if (pid === null || pid === undefined) return;
  try {
    process.kill(pid, name);
  } catch {
    // It has.
  }
}

function anyVmm({ runnerPid, vmm, random }: Scene): number | undefined {
  if (vmm !== undefined) return vmm;
  const vmms = vmmsOf(runnerPid ?? -1);
  return vmms[Math.floor(random() * vmms.length)];
}

/** A fault of one moment. */
function killing(name: string, endsController: boolean, victims: (scene: Scene) => readonly (number | null)[]): Fault {
  return {
    name: `kill ${name}`,
    longestMs: 2000,
    endsController,
    lacking: always,
    inflict: (scene) => {
      for (const pid of victims(scene)) signal(pid, 'SIGKILL');
      return Promise.resolve(nothing);
    },
  };
}

/** A process that hangs, and comes back. */
function stopping(name: string, longestMs: number, victims: (scene: Scene) => readonly (number | null)[]): Fault {
  return {
    name: `stop ${name}`,
    longestMs,
    endsController: false,
    lacking: always,
    inflict: (scene) => {
      const pids = victims(scene);
      for (const pid of pids) signal(pid, 'SIGSTOP');
      return Promise.resolve(() => {
        for (const pid of pids) signal(pid, 'SIGCONT');
        return Promise.resolve();
      });
    },
  };
}

/** A process whose limit is at what it has now. */
function limiting(resource: 'nofile' | 'as', name: string, victim: (scene: Scene) => number | null): Fault {
  const usedBy = (pid: number): number =>
    resource === 'nofile' ? readdirSync(`/proc/${pid}/fd`).length : virtualBytes(pid);
  const slack = resource === 'nofile' ? 3 : 8 * 1024 * 1024;
  return {
    name: `starve ${name} of ${resource === 'nofile' ? 'descriptors' : 'memory'}`,
    longestMs: 3000,
    endsController: false,
    lacking: () => (spawnSync('prlimit', ['--version']).status === 0 ? null : 'there is no prlimit'),
    inflict: (scene) => {
      const pid = victim(scene);
      if (pid === null) return Promise.resolve(nothing);
      const before = limitOf(pid, resource);
      setLimit(pid, resource, `${usedBy(pid) + slack}:`);
      return Promise.resolve(() => {
        setLimit(pid, resource, `${before}:`);
        return Promise.resolve();
      });
    },
  };
}

function virtualBytes(pid: number): number {
  const [, kib] = /^VmSize:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

function limitOf(pid: number, resource: string): string {
  const argv = [`--pid=${pid}`, `--${resource}`, '--output=SOFT', '--noheadings', '--raw'];
  return spawnSync('prlimit', argv, { encoding: 'utf8' }).stdout.trim();
}

function setLimit(pid: number, resource: string, limit: string): void {
  spawnSync('prlimit', [`--pid=${pid}`, `--${resource}=${limit}`]);
}

const PIDS_CGROUP = '/sys/fs/cgroup/pids';

const starveProcesses: Fault = {
  name: 'starve firerunner of processes',
  longestMs: 3000,
  endsController: false,
  lacking: () =>
    existsSync(join(PIDS_CGROUP, 'cgroup.procs')) && process.getuid?.() === 0
      ? null
      : `there is no ${PIDS_CGROUP} that could be written to`,
  inflict: ({ runnerPid }) => {
    if (runnerPid === null) return Promise.resolve(nothing);
    const group = join(PIDS_CGROUP, `snapfaas-test-${process.pid}-${runnerPid}`);
    mkdirSync(group);
    const move = (pid: number, to: string): void => {
      try {
        writeFileSync(join(to, 'cgroup.procs'), String(pid));
      } catch {
        // It has ended.
      }
    };
    move(runnerPid, group);
    const threads = readdirSync(`/proc/${runnerPid}/task`).length;
    writeFileSync(join(group, 'pids.max'), String(threads));
    return Promise.resolve(async () => {
      writeFileSync(join(group, 'pids.max'), 'max');
      // What it has started since is in the group as well, and may be starting more.
      await until('the cgroup is empty', () => {
        const pids = readFileSync(join(group, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean);
        for (const pid of pids) move(Number(pid), PIDS_CGROUP);
        return pids.length === 0;
      });
      rmdirSync(group);
    });
  },
};

/** A file that takes all that is left of a file system. */
function filling(name: string, directoryOf: (scene: Scene) => string): Fault {
  return {
    name: `fill the disk of ${name}`,
    longestMs: 3000,
    endsController: false,
    lacking: () => (process.getuid?.() === 0 ? null : 'only root can mount a small file system'),
    inflict: (scene) => {
      const directory = directoryOf(scene);
      const ballast = join(directory, 'ballast');
      const { bavail, bsize } = statfsSync(directory);
      spawnSync('fallocate', ['-l', String(bavail * bsize), ballast]);
      return Promise.resolve(() => {
        rmSync(ballast, { force: true });
        return Promise.resolve();
      });
    },
  };
}

const FIRERUNNER = ({ runnerPid }: Scene): readonly (number | null)[] => [runnerPid];
const SNAPCTR = ({ controller }: Scene): readonly (number | null)[] => [controller.pid];
const ONE_VMM = (scene: Scene): readonly (number | null)[] => [anyVmm(scene) ?? null];
const ALL_VMMS = ({ runnerPid }: Scene): readonly (number | null)[] => vmmsOf(runnerPid ?? -1);

/** VMMs that come within this time are waited for, in ms. */
const NEXT_VMM_MS = 10_000;

/** @returns null if none comes. */
async function nextVmm(scene: Scene, isIt: (pid: number) => boolean): Promise<VmmOf | null> {
  let found: VmmOf | null = null;
  const isThere = async (): Promise<boolean> => {
    const firerunner = (await scene.controller.status()).runner_pid ?? -1;
    const vmm = vmmsOf(firerunner).find(isIt);
    if (vmm !== undefined) found = { vmm, firerunner };
    return found !== null;
  };
  await until('there is one', isThere, NEXT_VMM_MS).catch(() => undefined);
  return found;
}

interface VmmOf {
  readonly vmm: number;
  readonly firerunner: number;
}

/** The VMM of a snapshot that is being made lies in a directory of that name, and writes to such a one. */
const BUILDS = /\/build\.\d+\/|\.snapfaas-build-/;

/** Has the layers of all functions made again, and inflicts `fault` on one that is being made. */
function whileBuilding(fault: Fault): Fault {
  return {
    ...fault,
    name: `${fault.name} while a snapshot is made`,
    inflict: async (scene) => {
      const store = join(scene.workspace.directory, 'snapshots');
      const layers = readdirSync(store).filter((name) => name.startsWith('function-'));
      // Nobody reads them when they go: the next firerunner has not started yet.
      signal(scene.runnerPid, 'SIGKILL');
      const hidden = (layer: string): string => join(store, `.gone-${layer}`);
      for (const layer of layers) renameSync(join(store, layer), hidden(layer));
      for (const layer of layers) rmSync(hidden(layer), { recursive: true });
      const isBuilding = (pid: number): boolean => commandOf(pid).some((word) => BUILDS.test(word));
      const next = layers.length === 0 ? null : await nextVmm(scene, isBuilding);
      return next === null ? nothing : fault.inflict({ ...scene, runnerPid: next.firerunner, vmm: next.vmm });
    },
  };
}

/** Ends all VMs, and inflicts `fault` on one that is launched next. */
function whileLaunching(fault: Fault): Fault {
  return {
    ...fault,
    name: `${fault.name} while it is launched`,
    inflict: async (scene) => {
      const before = new Set(vmmsOf(scene.runnerPid ?? -1));
      for (const pid of before) signal(pid, 'SIGKILL');
      const next = await nextVmm(scene, (pid) => !before.has(pid));
      return next === null ? nothing : fault.inflict({ ...scene, runnerPid: next.firerunner, vmm: next.vmm });
    },
  };
}

const KILL_VMM = killing('a VMM', false, ONE_VMM);
const KILL_FIRERUNNER = killing('firerunner', false, FIRERUNNER);
const STOP_VMM = stopping('a VMM', 30_000, ONE_VMM);
const FILL_SNAPSHOTS = filling('snapshots', ({ workspace }) => join(workspace.directory, 'snapshots'));

export const FAULTS: readonly Fault[] = [
  KILL_VMM,
  killing('all VMMs', false, ALL_VMMS),
  KILL_FIRERUNNER,
  killing('snapctr', true, SNAPCTR),
  STOP_VMM,
  stopping('firerunner', 15_000, FIRERUNNER),
  stopping('snapctr', 5000, SNAPCTR),
  limiting('nofile', 'firerunner', ({ runnerPid }) => runnerPid),
  limiting('nofile', 'snapctr', ({ controller }) => controller.pid),
  limiting('as', 'firerunner', ({ runnerPid }) => runnerPid),
  starveProcesses,
  FILL_SNAPSHOTS,
  filling('the run directory', ({ workspace }) => workspace.runDirectory),
  whileLaunching(KILL_VMM),
  whileLaunching(STOP_VMM),
  whileBuilding(KILL_VMM),
  whileBuilding(STOP_VMM),
  whileBuilding(KILL_FIRERUNNER),
  whileBuilding(FILL_SNAPSHOTS),
];
