/**
 * Runs in the fake Firecracker. Snapshots of a machine: written while it is paused, loaded into a fresh process.
 *
 * Disk paths and the vsock's are recorded as they were given, and opened again exactly so. A Diff needs
 * `track_dirty_pages`; the real one would guess without.
 */
import { openSync } from 'node:fs';
import type { NetworkInterface } from './configuration.ts';
import type { SavedGuest } from './guest.ts';
import { GuestMemory } from './guest-memory.ts';
import type { Machine } from './machine.ts';
import { MappedFile } from './mapped-file.ts';
import { checkMemory, restoreGuest } from './starting.ts';
import { readStateFile, writeStateFile, type SavedState } from './state-file.ts';

export interface CreateParameters {
  readonly snapshot_type?: 'Full' | 'Diff';
  readonly snapshot_path: string;
  readonly mem_file_path: string;
}

export interface LoadParameters {
  readonly snapshot_path: string;
  readonly mem_backend?: { readonly backend_type: 'File' | 'Uffd'; readonly backend_path: string };
  readonly mem_file_path?: string;
  readonly resume_vm?: boolean;
  readonly track_dirty_pages?: boolean;
  readonly enable_diff_snapshots?: boolean;
  readonly network_overrides?: readonly { readonly iface_id: string; readonly host_dev_name: string }[];
  readonly vsock_override?: { readonly uds_path: string };
  readonly clock_realtime?: boolean;
}

/** @param machine is paused. @throws Error if it cannot be saved; it lives on. */
export async function createSnapshot(machine: Machine, parameters: CreateParameters, format: string): Promise<void> {
  const { configuration, guest, memory, mapped, vsock, surroundings } = machine;
  const { paths, environment, journal } = surroundings;
  const type = parameters.snapshot_type ?? 'Full';
  if (guest === null || memory === null) throw new Error('fake: there is no guest to take a snapshot of');
  if (type === 'Diff' && !configuration.machine.track_dirty_pages) {
    throw new Error('fake: a Diff needs track_dirty_pages, which was not set for this process');
  }
  const memoryPath = paths.resolve(parameters.mem_file_path);
  if (mapped?.is(memoryPath) === true) throw new Error('fake: the memory file is the one this machine has mapped');
  // Frames that a guest sent before it was paused are still on their way.
  await new Promise((resolve) => setImmediate(resolve));
  memory.state = guest.save();
  const pages = type === 'Full' ? memory.writeFull(memoryPath) : memory.writeDiff(memoryPath);
  const state: SavedState = {
    vmmVersion: environment.version,
    machine: configuration.machine,
    drives: configuration.drives,
    vsock:
      configuration.vsock === null || vsock === null
        ? null
        : {
            guestCid: configuration.vsock.guest_cid,
            udsPath: configuration.vsock.uds_path,
            lastHostPort: vsock.lastHostPort,
          },
    networkInterfaces: configuration.networkInterfaces,
    memory: memory.digests(),
  };
  writeStateFile(paths.resolve(parameters.snapshot_path), format, state);
  vsock?.resetAtThaw();
  journal.write('snapshot', { type, pages });
}

/** The machine is paused afterwards. @throws Error: it must not be used then. */
export async function loadSnapshot(machine: Machine, parameters: LoadParameters, format: string): Promise<void> {
  const began = performance.now();
  const { configuration, surroundings } = machine;
  const { paths, journal } = surroundings;
  const { mem_backend: backend, mem_file_path: plainPath } = parameters;
  if (backend?.backend_type === 'Uffd') throw new Error('fake: memory comes from files only');
  if (parameters.clock_realtime === true) {
    throw new Error('fake: clock_realtime is not in the snapshot, as on every host without a TSC master clock');
  }
  const state = readStateFile(paths.resolve(parameters.snapshot_path), format);
  const fd = openSync(paths.resolve(backend?.backend_path ?? plainPath ?? ''), 'r');
  const isTracking = parameters.track_dirty_pages ?? parameters.enable_diff_snapshots ?? false;
  configuration.setMachine({ ...state.machine, track_dirty_pages: isTracking });
  machine.memory = GuestMemory.load(fd, state.machine.mem_size_mib, state.memory);
  machine.mapped = new MappedFile(fd, state.machine.mem_size_mib);
  machine.mapped.watch(() => checkMemory(machine));
  for (const drive of state.drives) configuration.setDrive(drive);
  for (const one of overridden(state.networkInterfaces, parameters)) configuration.setNetworkInterface(one);
  const override = parameters.vsock_override?.uds_path;
  if (state.vsock === null && override !== undefined)
    throw new Error('vsock_override: the snapshot has no vsock device');
  if (state.vsock !== null) {
    const { guestCid, udsPath, lastHostPort } = state.vsock;
    await machine.openVsock({ guest_cid: guestCid, uds_path: override ?? udsPath }, lastHostPort);
  }
  const replayed = performance.now();
  await restoreGuest(machine, machine.memory.state as SavedGuest);
  const done = performance.now();
  journal.write('load', { workMs: done - began, replayMs: done - replayed });
}

function overridden(saved: readonly NetworkInterface[], parameters: LoadParameters): NetworkInterface[] {
  const overrides = new Map((parameters.network_overrides ?? []).map((one) => [one.iface_id, one.host_dev_name]));
  for (const id of overrides.keys()) {
    if (!saved.some((one) => one.iface_id === id)) throw new Error(`network_overrides: the snapshot has no ${id}`);
  }
  return saved.map((one) => ({ ...one, host_dev_name: overrides.get(one.iface_id) ?? one.host_dev_name }));
}
