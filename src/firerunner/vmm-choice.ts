/**
 * Runs in firerunner. Which VMM to use. `auto` takes what was proved to work by running a guest: /dev/kvm may open, answer
 * and create a VM, and still never run a stock kernel, as in some nested hosts.
 */
import { createHash } from 'node:crypto';
import { constants as fs, accessSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { QemuAccelerator, VmmName, VmmSettings } from '../protocol/runner.ts';
import { LaunchError, type Driver } from './drivers/driver.ts';
import { processDriver } from './drivers/process.ts';
import { QEMU_COMMAND, qemuDriver } from './drivers/qemu.ts';
import { openFirecracker } from './firecracker/open.ts';
import { findProgram } from './find-program.ts';
import { OutputTail, startVmmProcess } from './vmm-process.ts';

/** A guest that runs at all says so within this time, in ms. */
const PROBE_TIMEOUT_MS = 5000;
/** What init prints when the kernel command line holds `snapfaas.probe`. */
const PROBE_WORD = 'snapfaas-probe-ok';

export interface VmmWish {
  readonly vmm: 'auto' | VmmName;
  readonly accelerator: 'auto' | QemuAccelerator;
  readonly settings: VmmSettings;
  /** firerunner's run directory. */
  readonly directory: string;
  /** Tells the user what a driver finds odd. */
  readonly say: (text: string) => void;
  /** The guest that the probe boots. */
  readonly kernelPath: string | null;
  readonly initrdPath: string | null;
}

export interface VmmChoice {
  readonly driver: Driver;
  /** One sentence for the log: what was taken and why. */
  readonly reason: string;
}

/** @throws LaunchError with the remedy if the wish cannot be met. */
export async function chooseVmm(wish: VmmWish): Promise<VmmChoice> {
  if (wish.vmm === 'process') return { driver: processDriver(), reason: 'process: asked for' };
  if (wish.vmm === 'firecracker') {
    const driver = await openFirecracker(wish.settings, wish.directory, wish.say);
    return { driver, reason: `${driver.name}: asked for` };
  }
  if (findProgram(QEMU_COMMAND) === null) {
    throw new LaunchError(
      `${QEMU_COMMAND} is not installed: run "apt-get install qemu-system-x86", or use --vmm process for functions ` +
        'as plain processes without isolation',
    );
  }
  if (wish.accelerator !== 'auto') {
    return { driver: qemuDriver(wish.accelerator), reason: `qemu with ${wish.accelerator}: asked for` };
  }
  const verdict = await kvmVerdict(wish.kernelPath, wish.initrdPath);
  const accelerator = verdict.usable ? 'kvm' : 'tcg';
  return { driver: qemuDriver(accelerator), reason: `qemu with ${accelerator}: ${verdict.reason}` };
}

interface KvmVerdict {
  readonly usable: boolean;
  readonly reason: string;
}

async function kvmVerdict(kernelPath: string | null, initrdPath: string | null): Promise<KvmVerdict> {
  try {
    accessSync('/dev/kvm', fs.R_OK | fs.W_OK);
  } catch {
    return { usable: false, reason: '/dev/kvm is missing or not ours to open' };
  }
  if (kernelPath === null || initrdPath === null) return { usable: false, reason: 'no guest at hand to prove KVM' };
  const cachePath = verdictPath(kernelPath, initrdPath);
  const cached = readVerdict(cachePath);
  if (cached !== null) return cached;
  const verdict = await probeKvm(kernelPath, initrdPath);
  if (cachePath !== null) writeVerdict(cachePath, verdict);
  return verdict;
}

/** Boots a guest that only says it runs. */
async function probeKvm(kernelPath: string, initrdPath: string): Promise<KvmVerdict> {
  const vmm = await startVmmProcess(
    QEMU_COMMAND,
    [
      ...['-machine', 'q35', '-accel', 'kvm', '-cpu', 'host', '-smp', '1', '-m', '128M', '-nodefaults'],
      ...['-no-user-config', '-nographic', '-no-reboot', '-kernel', kernelPath, '-initrd', initrdPath],
      ...['-append', 'console=ttyS0 quiet reboot=t panic=-1 snapfaas.probe'],
      ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' },
  );
  const tail = new OutputTail();
  tail.watch(vmm.child.stdout);
  tail.watch(vmm.child.stderr);
  // The guest powers off when it has said its word, and QEMU ends with it.
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), PROBE_TIMEOUT_MS);
  late.signal.addEventListener('abort', () => void vmm.kill());
  await vmm.exited;
  clearTimeout(timer);
  if (tail.lines().some((line) => line.includes(PROBE_WORD))) {
    return { usable: true, reason: 'KVM ran a guest' };
  }
  const why = late.signal.aborted
    ? `did not come up in ${PROBE_TIMEOUT_MS} ms`
    : `failed: ${tail.lines().at(-1) ?? 'no reason given'}`;
  return { usable: false, reason: `/dev/kvm opens, but a guest under it ${why}` };
}

/**
 * One verdict for each boot of the host and each guest, for a broken guest says nothing of the next one. Null where the
 * host does not say which boot it is.
 */
function verdictPath(...guestFiles: readonly string[]): string | null {
  try {
    const guest = createHash('sha256');
    for (const file of guestFiles) guest.update(`${file} ${statSync(file).size} ${statSync(file).mtimeMs}\n`);
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
    return join(cache, 'snapfaas', `kvm-${boot}-${guest.digest('hex').slice(0, 12)}.json`);
  } catch {
    return null;
  }
}

function readVerdict(path: string | null): KvmVerdict | null {
  if (path === null) return null;
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as Partial<KvmVerdict>;
    if (typeof value.usable !== 'boolean' || typeof value.reason !== 'string') return null;
    return { usable: value.usable, reason: `${value.reason} (found out earlier; remove ${path} to try again)` };
  } catch {
    return null;
  }
}

function writeVerdict(path: string, verdict: KvmVerdict): void {
  try {
    mkdirSync(join(path, '..'), { recursive: true });
    const temporary = `${path}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify(verdict));
    renameSync(temporary, path);
  } catch {
    // Without the cache the next start probes again.
  }
}
