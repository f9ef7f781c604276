/** Runs in `snapctr doctor`. What a check is, and what it may find. */
import type { DoctorContext } from './context.ts';

/**
 * `problem`: functions cannot run in VMs because of it. `warning`: they run, but slower, with fewer snapshots or with less
 * protection than they could. `skipped`: there is nothing to check here, or no way to.
 */
export type Status = 'ok' | 'warning' | 'problem' | 'skipped';

export interface Finding {
  readonly status: Status;
  /** What was found, one line. */
  readonly detail: string;
  /** What to do, one line; null if there is nothing to do. */
  readonly remedy: string | null;
}

export interface Check {
  /** Its name in reports; never changes, for programs look for it. */
  readonly name: string;
  /** Never rejects because of what it looks at: that is what it finds. */
  run(context: DoctorContext): Finding | Promise<Finding>;
}

export interface CheckResult extends Finding {
  readonly name: string;
}

export function ok(detail: string): Finding {
  return { status: 'ok', detail, remedy: null };
}

export function warning(detail: string, remedy: string | null): Finding {
  return { status: 'warning', detail, remedy };
}

export function problem(detail: string, remedy: string | null): Finding {
  return { status: 'problem', detail, remedy };
}

export function skipped(detail: string): Finding {
  return { status: 'skipped', detail, remedy: null };
}
