/** Runs in firerunner. The base layers: guests that are up and hold no function yet, each shared by all functions of its machine. */
import { basename } from 'node:path';
import type { LaunchSpec, MachineSpec, SnapshotSource } from '../../protocol/runner.ts';
import { buildBase } from './builder.ts';
import { Restorable } from './restorable.ts';
import { baseStamp, fileIdentity, sizeOf } from './stamps.ts';
import type { SnapshotStore } from './store.ts';
import { mendingDamage, type PrepareHooks, type Workshop } from './workshop.ts';

interface Base {
  readonly spec: LaunchSpec;
  readonly store: SnapshotStore;
  readonly promise: Promise<Restorable>;
  /** Null while it is made. */
  restorable: Restorable | null;
}

export class BaseLayers {
  readonly #workshop: Workshop;
  readonly #bases = new Map<string, Base>();
  /** Keys of those that were built again because they could not be restored: once has to be enough. */
  readonly #replaced = new Set<string>();

  constructor(workshop: Workshop) {
    this.#workshop = workshop;
  }

  /** The base layer of the spec's machine: opens it, or builds it first. Calls for the same machine share the work. */
  prepare(spec: LaunchSpec, store: SnapshotStore, hooks: PrepareHooks): Promise<Restorable> {
    const key = baseKey(spec.machine, spec.snapshots);
    const known = this.#bases.get(key);
    if (known !== undefined) return known.promise;
    const base: Base = { spec, store, restorable: null, promise: this.#open(spec, store, hooks) };
    this.#bases.set(key, base);
    base.promise.then(
      (restorable) => (base.restorable = restorable),
      () => this.#bases.delete(key),
    );
    return base.promise;
  }

  /** Whether it is in the store, or open already. */
  async isThere(spec: LaunchSpec, store: SnapshotStore): Promise<boolean> {
    if (this.find(spec) !== null) return true;
    const { driver, digests } = this.#workshop;
    const stamp = await baseStamp(driver, spec.machine, digests);
    return store.open('base', stamp).then(
      (layer) => layer !== null,
      () => false,
    );
  }

  /** Null if it is not there yet. */
  find({ machine, snapshots }: LaunchSpec): Restorable | null {
    return this.#bases.get(baseKey(machine, snapshots))?.restorable ?? null;
  }

  /** Its layer is damaged: whoever needs the base next opens or builds another one. */
  drop(restorable: Restorable): void {
    for (const [key, base] of this.#bases) if (base.restorable === restorable) this.#bases.delete(key);
  }

  /** It could not be restored: it is dropped, and built again, once. */
  distrust(restorable: Restorable): void {
    const [key, base] = [...this.#bases].find(([, { restorable: known }]) => known === restorable) ?? [];
    if (key === undefined || base === undefined) return;
    this.#bases.delete(key);
    if (this.#replaced.has(key)) return;
    this.#replaced.add(key);
    void base.store
      .remove(restorable.layer.name)
      .catch(() => undefined)
      .then(() => this.prepare(base.spec, base.store, {}))
      .catch(() => undefined);
  }

  /** Resolves when none is being built any more. */
  async close(): Promise<void> {
    const bases = [...this.#bases.values()];
    await Promise.allSettled(bases.map((base) => base.promise));
    for (const { restorable } of bases) restorable?.retire();
  }

  async #open(spec: LaunchSpec, store: SnapshotStore, hooks: PrepareHooks): Promise<Restorable> {
    const workshop = this.#workshop;
    const { driver } = workshop;
    const stamp = await baseStamp(driver, spec.machine, workshop.digests);
    const ensure = () =>
      store.ensure(
        'base',
        stamp,
        (draft) =>
          workshop.build(() => {
            hooks.onProgress?.('booting the base layer');
            return buildBase(workshop.context(spec, hooks), draft);
          }),
        workshop.ensureOptions(hooks),
      );
    return mendingDamage(
      async () => Restorable.open(driver, store.directory, [await ensure()], false),
      async (error) => {
        hooks.onProgress?.(error.message);
        await store.remove(basename(error.directory));
      },
    );
  }
}

/** Functions with equal keys are loaded on the same base layer. */
function baseKey(machine: MachineSpec, source: SnapshotSource | null): string {
  const { appfsPath, ...shared } = machine;
  const appfsBytes = appfsPath === null ? null : sizeOf(appfsPath);
  const files = [machine.kernelPath, machine.initrdPath, machine.rootfsPath].map(fileIdentity);
  return JSON.stringify([shared, appfsBytes, files, source]);
}
