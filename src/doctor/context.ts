/** Runs in `snapctr doctor`. What all checks are given: the subject, that is what a controller would be started with, and the host. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RunDirectory } from '../firerunner/run-directory.ts';
import type { ProbeGuest } from '../firerunner/probes/result.ts';
import type { RuntimeName } from '../protocol/runtimes.ts';
import type { VmmSettings } from '../protocol/vmm-settings.ts';
import type { HostProbes } from './host-probes.ts';

/** What is examined. Paths are absolute. */
export interface Subject {
  /** Null: no configuration was given, and the rest are the defaults of this project. */
  readonly configuration: { readonly file: string; readonly problems: readonly string[] } | null;
  /** Null: the configuration does not tell. */
  readonly guest: ProbeGuest | null;
  readonly rootFileSystems: readonly RootFileSystem[];
  /** Null: the configuration does not tell. */
  readonly snapshotDirectory: string | null;
  /** Functions that snapshots are made of. */
  readonly functionCount: number;
  /** `--mem`, in MiB; null: not said. */
  readonly memoryMib: number | null;
  readonly settings: VmmSettings;
}

export interface RootFileSystem {
  readonly path: string;
  /** Null: the configuration does not tell. */
  readonly runtime: RuntimeName | null;
}

export interface DoctorContext {
  readonly subject: Subject;
  readonly probes: HostProbes;
  /** As firerunner would have it, or the reason why it cannot. */
  readonly runDirectory: RunDirectory | Error;
  /** Where the host's `/proc`, `/sys` and `/etc` are. */
  readonly hostRoot: string;
}

/** A file that the host describes itself with; empty if there is none, or it may not be read. */
export function readHostFile({ hostRoot }: Pick<DoctorContext, 'hostRoot'>, path: string): string {
  try {
    return readFileSync(join(hostRoot, path), 'utf8');
  } catch {
    return '';
  }
}
