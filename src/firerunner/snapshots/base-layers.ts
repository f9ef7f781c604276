/** Runs in firerunner. The base layers: guests that are up and hold no function yet, each shared by all functions of its machine. */
import { basename } from 'node:path';
import type { LaunchSpec, MachineSpec, SnapshotSource } from '../../protocol/runner.ts';
import { buildBase } from './builder.ts';
import { mendingDamage, type LayerBuilds, type PrepareHooks } from './layer-builds.ts';
import { Restorable } from './restorable.ts';
import { Snapshot, type HeldSnapshot, type Made, type RecipeRequest } from './snapshot.ts';
import { fileIdentity } from '../../storage/file-identity.ts';
import { baseStamp, sizeOf } from './stamps.ts';
import type { SnapshotStore } from './store.ts';

export class BaseLayers {
  readonly #builds: LayerBuilds;
  readonly #bases = new Map<string, Snapshot>();

  constructor(builds: LayerBuilds) {
    this.#builds = builds;
  }

  /**
   * The base layer of the spec's machine: opens it, or builds it first. Calls for the same machine share the work. It is held
   * for the caller, who may wait long for a turn: meanwhile others may find that it cannot be restored.
   *
   * @throws LaunchError, SnapshotStoreError.
   */
  async prepare(spec: LaunchSpec, store: SnapshotStore, hooks: PrepareHooks): Promise<HeldSnapshot> {
    const key = baseKey(spec.machine, spec.snapshots);
    const known = this.#bases.get(key);
    const base =
      known ??
      new Snapshot({
        make: (request) => this.#make(spec, store, request),
        mayOpen: () => true,
        whenTurn: (work) => void work(),
        savingMs: () => this.#builds.savingMs,
        signal: this.#builds.signal,
      });
    if (known === undefined) this.#bases.set(key, base);
    // Whoever began it is told how it goes on.
    if (base.restorable === null) await (base.state.is === 'building' ? base.prepare() : base.prepare(hooks));
    const held = base.hold();
    if (held === null) throw new Error('the base layer was replaced as soon as it was open');
    return held;
  }

  /** Whether it is in the store, or open already. */
  async isThere(spec: LaunchSpec, store: SnapshotStore): Promise<boolean> {
    if (this.find(spec)?.restorable != null) return true;
    const { driver, digests } = this.#builds;
    const stamp = await baseStamp(driver, spec.machine, digests);
    return store.open('base', stamp).then(
      (layer) => layer !== null,
      () => false,
    );
  }

  /** Null if nobody has asked for it yet. */
  find({ machine, snapshots }: LaunchSpec): Snapshot | null {
    return this.#bases.get(baseKey(machine, snapshots)) ?? null;
  }

  /** Its layer is damaged: whoever needs the base next opens or builds another one. */
  invalidate(restorable: Restorable): void {
    for (const base of this.#bases.values()) if (base.restorable === restorable) base.invalidate();
  }

  /** Resolves when none is being built any more. */
  async close(): Promise<void> {
    for (const base of this.#bases.values()) {
      await base.settled();
      base.retire();
    }
  }

  async #make(spec: LaunchSpec, store: SnapshotStore, { hooks, rebuild }: RecipeRequest): Promise<Made> {
    const builds = this.#builds;
    const { driver } = builds;
    const stamp = await baseStamp(driver, spec.machine, builds.digests);
    let builtMs: number | null = null;
    const open = async (): Promise<Restorable> => {
      const layer = await store.ensure(
        'base',
        stamp,
        (draft) =>
          builds.runForBase(async () => {
            hooks.onProgress?.('booting the base layer');
            const started = performance.now();
            await buildBase(builds.context(spec, hooks), draft);
            builtMs = performance.now() - started;
          }),
        { ...builds.ensureOptions(hooks), rebuild: rebuild && builtMs === null },
      );
      return Restorable.open(driver, store.directory, [layer], false);
    };
    const restorable = await mendingDamage(open, async (error) => {
      hooks.onProgress?.(error.message);
      await store.remove(basename(error.directory));
    });
    return { layer: restorable.layer.name, builtMs, restorable };
  }
}

/** Functions with equal keys are loaded on the same base layer. */
function baseKey(machine: MachineSpec, source: SnapshotSource | null): string {
  const { appfsPath, ...shared } = machine;
  const appfsBytes = appfsPath === null ? null : sizeOf(appfsPath);
  const files = [machine.kernelPath, machine.initrdPath, machine.rootfsPath].map(fileIdentity);
  return JSON.stringify([shared, appfsBytes, files, source]);
}
