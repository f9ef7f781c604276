/** Runs in snapctr. What a function is, as a source tells it, and as it runs. */
import type { ContainerSettings } from '../protocol/runner.ts';
import type { RuntimeName } from '../protocol/runtimes.ts';
import type { WebConfig } from '../protocol/web.ts';

/** A function as its source describes it: immutable. */
export interface FunctionConfig {
  readonly name: string;
  /** `$LATEST`, or the number it was published under, as text. */
  readonly version: string;
  /** Language; null if neither the configuration nor the image tells. Never null with the `process` VMM. */
  readonly runtime: RuntimeName | null;
  /** Root file system, absolute. Need not exist with the `process` VMM. */
  readonly runtimefsPath: string;
  /**
   * The function's own files, absolute; null: everything is in the root file system. A package is a zip archive; of a container
   * image the path is what it is called, see `oci/reference.ts`.
   */
  readonly appfs: { readonly kind: 'image' | 'directory' | 'package' | 'container'; readonly path: string } | null;
  /** What a container image's function has started in it. Absent: it is none. */
  readonly container?: ContainerSettings;
  /**
   * Layers, absolute, at most `MAX_LAYERS`: zip archives, or directories. What is in them is below /opt, later ones over earlier ones.
   * Empty where `appfs` is an image or null.
   */
  readonly layers: readonly string[];
  readonly vcpus: number;
  readonly memoryMib: number;
  /** Most requests at once; null: as many as memory allows VMs for. */
  readonly concurrencyLimit: number | null;
  /** From receiving a request to its result, in ms. */
  readonly timeoutMs: number;
  /** `file.function`; null: the original's `workload` and `handle`. */
  readonly handler: string | null;
  readonly environment: Readonly<Record<string, string>>;
  /** Directories of snapshot layers made by hand, base first, absolute; null: firerunner makes its own. */
  readonly snapshotLayers: readonly string[] | null;
  /** Each request names a tenant, and a VM that has served one serves no other. Absent: requests have no tenants. */
  readonly isolatesTenants?: boolean;
  /** Requests go to its port; absent: it has a handler, or asks for its events itself. `handler` says how it is started. */
  readonly web?: WebConfig;
  /** Whether its VMs have a network interface. */
  readonly network: boolean;
}

/**
 * A function as it runs: its files are ready for the VMM, at a path that names their content, and nothing of it ever changes.
 * The key of all that lasts longer than a request: VMs, snapshots, what is known of its code. A change of the function is
 * another version.
 */
export type FunctionVersion = FunctionConfig;

/** Requests that a VM of it gets at once. */
export function slotsOf({ web }: FunctionVersion): number {
  return web?.maxConcurrency ?? 1;
}

/** Whether a VM of the one is as good as a VM of the other. */
export function isSameVersion(one: FunctionVersion, other: FunctionVersion): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
