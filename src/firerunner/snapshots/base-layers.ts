/** Runs in firerunner. The base layers: guests that are up and hold no function yet, each shared by all functions of its machine. */
import type { LaunchSpec, MachineSpec, SnapshotSource } from '../../protocol/runner.ts';
import { HostError } from '../machine.ts';
import { buildBase } from './builder.ts';
import type { Layer } from './layer.ts';
import { mendingDamage, type LayerBuilds, type PrepareHooks } from './layer-builds.ts';
import { Restorable } from './restorable.ts';
import { Snapshot, type HeldSnapshot, type Made, type RecipeRequest } from './snapshot.ts';
import { fileIdentity } from '../../storage/file-identity.ts';
import { baseStamp, sizeOf } from './stamps.ts';
import type { SnapshotStore } from './store.ts';

/** A base layer may be refused by a launch between the moment it is open and that in which it is held. */
const HOLD_ATTEMPTS = 4;

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
    for (let attempt = 0; attempt < HOLD_ATTEMPTS; attempt += 1) {
      const held = base.hold();
      if (held !== null) return held;
      // Whoever began it is told how it goes on.
      await (base.state.is === 'building' ? base.prepare() : base.prepare(hooks));
    }
    throw new HostError('the base layer was replaced again and again, each time as soon as it was open');
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

  /** Its layer is damaged, or was replaced: whoever needs the base next opens or builds another one. */
  invalidate(restorable: Restorable): void {
    for (const base of this.#bases.values()) base.invalidate(restorable);
  }

  /** Resolves when none is being built any more. */
  async close(): Promise<void> {
    for (const base of this.#bases.values()) {
      await base.settled();
      base.retire();
    }
  }

  async #make(spec: LaunchSpec, store: SnapshotStore, { hooks, unlike }: RecipeRequest): Promise<Made> {
    const builds = this.#builds;
    const { driver } = builds;
    const stamp = await baseStamp(driver, spec.machine, builds.digests);
    let builtMs: number | null = null;
    let layer: Layer | null = null;
    let unusable = unlike;
    const open = async (): Promise<Restorable> => {
      layer = await store.ensure(
        'base',
        stamp,
        (draft) =>
          builds.runForBase(async () => {
            hooks.onProgress?.('booting the base layer');
            const started = performance.now();
            await buildBase(builds.context(spec, hooks), draft);
            builtMs = performance.now() - started;
          }),
        { ...builds.ensureOptions(hooks), unlike: unusable },
      );
      return Restorable.open(driver, store.directory, [layer], false);
    };
    const restorable = await mendingDamage(open, (error) => {
      hooks.onProgress?.(error.message);
      if (layer?.directory === error.directory) unusable = layer.digest;
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
