/**
 * Runs in firerunner. What a layer is bound to: digests of every file that went into it, and versions of what runs it. A
 * layer is used only where its stamp is equal to the one computed now.
 */
import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { GUEST_PROTOCOL_VERSION } from '../../protocol/guest.ts';
import type { LaunchSpec, MachineSpec } from '../../protocol/runner.ts';
import { fileIdentity } from '../../storage/file-identity.ts';
import { sha256File } from '../../storage/digest.ts';
import type { Driver } from '../machine.ts';
import { loadRequest } from '../launch.ts';
import type { LayerStamp } from './layer.ts';

/**
 * Raised when layers made by an older program must not be used by this one. 1: their VMs had the state of random generators
 * in common.
 */
export const SNAPSHOT_RULES_VERSION = 2;

/** Digests of files by path, kept for as long as a file looks untouched. */
export class FileDigests {
  readonly #known = new Map<string, { readonly identity: string; readonly digest: Promise<string> }>();

  async of(path: string): Promise<string> {
    const identity = fileIdentity(path);
    const known = this.#known.get(path);
    if (known?.identity === identity) return known.digest;
    const digest = sha256File(path);
    this.#known.set(path, { identity, digest });
    digest.catch(() => this.#known.delete(path));
    return digest;
  }

  /** Nobody will ask for this one soon. */
  forget(path: string): void {
    this.#known.delete(path);
  }
}

/** The files that a VM of this machine is made of. */
export function machineFiles({ kernelPath, initrdPath, rootfsPath, appfsPath }: MachineSpec): readonly string[] {
  return [kernelPath, initrdPath, rootfsPath, ...(appfsPath === null ? [] : [appfsPath])];
}

/** @returns the stamp of the base layer: everything but the function. */
export async function baseStamp(driver: Driver, spec: MachineSpec, digests: FileDigests): Promise<LayerStamp> {
  const [kernel, initrd, rootfs] = await Promise.all(
    [spec.kernelPath, spec.initrdPath, spec.rootfsPath].map((path) => digests.of(path)),
  );
  return {
    rules: SNAPSHOT_RULES_VERSION,
    protocol: GUEST_PROTOCOL_VERSION,
    ...(await driver.snapshots?.stamp()),
    memoryMib: spec.memoryMib,
    vcpus: spec.vcpus,
    network: spec.network ? 'eth0' : null,
    kernelArgs: spec.kernelArgs,
    kernel: kernel ?? null,
    initrd: initrd ?? null,
    rootfs: rootfs ?? null,
    appfsBytes: spec.appfsPath === null ? null : sizeOf(spec.appfsPath),
  };
}

/** @returns the stamp of the function layer on top of that base. */
export async function functionStamp(
  driver: Driver,
  spec: LaunchSpec,
  base: LayerStamp,
  digests: FileDigests,
): Promise<LayerStamp> {
  const { appfsPath } = spec.machine;
  return {
    ...base,
    appfs: appfsPath === null ? null : await digests.of(appfsPath),
    function: JSON.stringify(loadRequest(driver, spec, 'snap-start')),
  };
}

export function sizeOf(path: string): number {
  return statSync(path).size;
}

/** Whether a disk holds nothing yet: init sees it the same way. */
export async function isBlank(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4096), 0, 4096, 0);
    return bytesRead === 4096 && buffer.every((byte) => byte === 0);
  } finally {
    await file.close();
  }
}
