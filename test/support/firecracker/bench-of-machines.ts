/**
 * Runs in tests of the fake Firecracker. A directory with small stand-ins for kernel, initrd and disks, and machines that
 * boot from them: each in a directory of its own, with links to the files under the same relative names.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FrameType, SYNC_BYTES, type LoadRequest } from '../../../src/protocol/guest.ts';
import { commandOf, until } from '../../end-to-end/processes.ts';
import { FakeProcess, type GuestConnection } from './fake-process.ts';
import { installFakeFirecracker, type InstalledFake } from './install.ts';
import { parseJournal, type JournalLine } from './journal.ts';
import type { GuestLanguage } from './runtime-process.ts';

const MACHINE = { vcpu_count: 1, mem_size_mib: 128, smt: false, track_dirty_pages: true };
const BOOT = { kernel_image_path: 'vmlinux', initrd_path: 'initrd.cpio', boot_args: 'quiet reboot=k panic=1' };
const ROOTFS = { drive_id: 'rootfs', path_on_host: 'rootfs.ext4', is_root_device: false, is_read_only: true };
const APPFS = { drive_id: 'appfs', path_on_host: 'app.ext4', is_root_device: false, is_read_only: true };
const PROGRAMS = { python3: '/usr/bin/python3', nodejs: '/usr/bin/node' } as const;
const PYTHON_FUNCTION = `import os, subprocess
print("importing")
n = 0
def handle(event):
    global n
    if event == "spawn":
        return subprocess.Popen(["sleep", "1000"]).pid
    if event == "place":
        return os.environ["PLACE"]
    n += 1
    print("call", n)
    return {"n": n, "event": event}
`;
const NODE_FUNCTION = `console.log("importing");
let n = 0;
exports.handle = (event) => {
  n++;
  console.log("call", n);
  return { n, event };
};
`;
const FUNCTIONS = {
  python3: { name: 'workload.py', text: PYTHON_FUNCTION },
  nodejs: { name: 'workload.js', text: NODE_FUNCTION },
} as const;

export class BenchOfMachines {
  readonly directory: string;
  readonly journalPath: string;
  readonly programs: InstalledFake;
  readonly #fakes: FakeProcess[] = [];
  #machines = 0;

  private constructor(directory: string, programs: InstalledFake) {
    this.directory = directory;
    this.journalPath = join(directory, 'journal');
    this.programs = programs;
  }

  static async make(options: { readonly version?: string } = {}): Promise<BenchOfMachines> {
    const directory = mkdtempSync(join(tmpdir(), 'snapfaas-fake-'));
    const programs = await installFakeFirecracker(join(directory, 'bin'), options);
    writeFileSync(join(directory, 'vmlinux'), '\x7fELF stands in for a kernel', 'latin1');
    writeFileSync(join(directory, 'initrd.cpio'), 'stands in for an initrd');
    writeFileSync(join(directory, 'blank.ext4'), Buffer.alloc(64 * 1024));
    for (const language of ['python3', 'nodejs'] as const) {
      const { name, text } = FUNCTIONS[language];
      makeDisk(join(directory, `${language}.ext4`), 'etc/snapfaas/runtime', `${PROGRAMS[language]}\n`);
      makeDisk(join(directory, `${language}-app.ext4`), name, text);
    }
    return new BenchOfMachines(directory, programs);
  }

  /** A machine's directory. @param app `blank`: a disk that keeps the place of one. */
  makeDirectory(language: GuestLanguage = 'python3', app: 'function' | 'blank' = 'function'): string {
    const place = join(this.directory, `vm-${++this.#machines}`);
    mkdirSync(place);
    this.link(place, language, app);
    return place;
  }

  link(place: string, language: GuestLanguage, app: 'function' | 'blank'): void {
    for (const name of ['vmlinux', 'initrd.cpio']) symlinkSync(join(this.directory, name), join(place, name));
    symlinkSync(join(this.directory, `${language}.ext4`), join(place, 'rootfs.ext4'));
    const image = app === 'blank' ? 'blank.ext4' : `${language}-app.ext4`;
    symlinkSync(join(this.directory, image), join(place, 'app.ext4'));
  }

  async start(directory = this.makeDirectory(), env: NodeJS.ProcessEnv = {}): Promise<FakeProcess> {
    return this.keep(await FakeProcess.start(this.programs.firecracker, directory, this.#environment(env)));
  }

  /** Starts with any command line; nothing is waited for. */
  run(args: readonly string[], directory = this.directory, env: NodeJS.ProcessEnv = {}): FakeProcess {
    return this.keep(FakeProcess.run(this.programs.firecracker, args, directory, this.#environment(env)));
  }

  runJailer(args: readonly string[], directory: string): FakeProcess {
    return this.keep(FakeProcess.run(this.programs.jailer, args, directory, this.#environment({})));
  }

  journal(): JournalLine[] {
    return existsSync(this.journalPath) ? parseJournal(readFileSync(this.journalPath, 'utf8')) : [];
  }

  /** Ends all that was started, and fails if something is left of it. */
  async remove(): Promise<void> {
    for (const fake of this.#fakes) await fake.kill();
    rmSync(this.directory, { recursive: true, force: true });
    await until('no runtime and no keeper is left', () => leftProcesses(this.#fakes).length === 0);
    await until('no directory of a runtime is left', () => runtimeDirectories(this.#fakes).length === 0);
  }

  keep(fake: FakeProcess): FakeProcess {
    this.#fakes.push(fake);
    return fake;
  }

  #environment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
    return { FAKE_FIRECRACKER_JOURNAL: this.journalPath, ...env };
  }
}

/** Configures a machine up to InstanceStart, which is left to the caller. */
export async function configure(fake: FakeProcess, changes: { readonly bootArgs?: string } = {}): Promise<void> {
  await fake.ok('PUT', '/machine-config', MACHINE);
  await fake.ok('PUT', '/boot-source', { ...BOOT, boot_args: changes.bootArgs ?? BOOT.boot_args });
  await fake.ok('PUT', '/drives/rootfs', ROOTFS);
  await fake.ok('PUT', '/drives/appfs', APPFS);
  await fake.ok('PUT', '/vsock', { guest_cid: 3, uds_path: 'v.sock' });
}

export async function boot(fake: FakeProcess): Promise<void> {
  await configure(fake);
  await fake.ok('PUT', '/actions', { action_type: 'InstanceStart' });
}

export async function pauseAndSave(
  fake: FakeProcess,
  type: 'Full' | 'Diff',
  name = 'snapshot',
): Promise<{ readonly state: string; readonly memory: string }> {
  await fake.ok('PATCH', '/vm', { state: 'Paused' });
  const files = { snapshot_path: `${name}.state`, mem_file_path: `${name}.mem` };
  await fake.ok('PUT', '/snapshot/create', { snapshot_type: type, ...files });
  return { state: join(fake.directory, files.snapshot_path), memory: join(fake.directory, files.mem_file_path) };
}

export function loadBody(files: {
  readonly state: string;
  readonly memory: string;
}): Readonly<Record<string, unknown>> {
  return {
    snapshot_path: files.state,
    mem_backend: { backend_type: 'File', backend_path: files.memory },
    resume_vm: true,
  };
}

/** LOAD for the functions of these machines. */
export const LOAD_PAYLOAD = Buffer.from(
  JSON.stringify({
    function: 'counter',
    root: '/srv',
    handler: null,
    environment: { PLACE: '/srv/data' },
    memory_mib: 128,
    max_result_bytes: 1024 * 1024,
    output: 'pipes',
    style: 'original',
    initialization: 'on-demand',
    version: '$LATEST',
    arn: 'arn:aws:lambda:us-east-1:000000000000:function:counter',
    log_group: '/aws/lambda/counter',
  } satisfies LoadRequest),
);

/** Sends LOAD and waits for LOADED. */
export async function loadFunction(control: GuestConnection): Promise<void> {
  control.send(FrameType.sync, undefined, Buffer.alloc(SYNC_BYTES));
  control.send(FrameType.load, undefined, LOAD_PAYLOAD);
  await control.next(FrameType.loaded);
}

/** Sends START and waits for STARTED. */
export async function startFunction(control: GuestConnection, restored: boolean): Promise<void> {
  control.send(FrameType.start, { restored });
  await control.next(FrameType.started);
}

/** Invokes and returns the result. */
export async function invoke(port: GuestConnection, event: unknown): Promise<unknown> {
  port.send(FrameType.invoke, { id: 'r1', deadline_ms: Date.now() + 10_000 }, Buffer.from(JSON.stringify(event)));
  const { type, payload } = await port.next();
  if (type !== FrameType.result) throw new Error(`expected RESULT, got type ${type}: ${payload.toString('utf8')}`);
  return JSON.parse(payload.toString('utf8')) as unknown;
}

function makeDisk(image: string, path: string, text: string): void {
  const content = mkdtempSync(join(tmpdir(), 'snapfaas-disk-'));
  try {
    mkdirSync(join(content, path, '..'), { recursive: true });
    writeFileSync(join(content, path), text);
    execFileSync('/usr/sbin/mkfs.ext4', ['-q', '-d', content, image, '1M'], { stdio: 'pipe' });
  } finally {
    rmSync(content, { recursive: true, force: true });
  }
}

/** The guard that a runtime is started by has the fake's process id as a word. */
function leftProcesses(fakes: readonly FakeProcess[]): number[] {
  const directories = new Set(runtimeDirectories(fakes));
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => commandOf(pid).some((word) => [...directories].some((place) => word.startsWith(place))));
}

/** Directories of runtimes of these fakes: their names tell whose they are. */
function runtimeDirectories(fakes: readonly FakeProcess[]): string[] {
  const pids = new Set(fakes.map((fake) => String(fake.child.pid)));
  return readdirSync(tmpdir())
    .filter((name) => name.startsWith('fake-firecracker-') && pids.has(name.split('-')[2] ?? ''))
    .map((name) => join(tmpdir(), name));
}
