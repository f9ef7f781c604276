/** Runs in `snapctr doctor`. Runs the checks one after another, and says whether functions can run in VMs here. */
import { openRunDirectory, type RunDirectory } from '../firerunner/run-directory.ts';
import { messageOf } from '../protocol/errors.ts';
import type { QemuAccelerator } from '../protocol/runner.ts';
import type { VmmName } from '../protocol/vmms.ts';
import { warning, type Check, type CheckResult, type Finding } from './check.ts';
import { CHECKS } from './checks.ts';
import type { DoctorContext, Subject } from './context.ts';
import { HostProbes } from './host-probes.ts';

/** The whole report, as `--json` prints it; documented in docs/doctor.md. */
export interface Diagnosis {
  /** Whether functions can run in VMs: no check found a problem. */
  readonly ok: boolean;
  /** What `--vmm auto` takes; null if not `ok`. */
  readonly vmm: VmmName | null;
  /** How QEMU runs guests; null without QEMU. */
  readonly accelerator: QemuAccelerator | null;
  /** One sentence: why this VMM, or what is missing. */
  readonly reason: string;
  readonly checks: readonly CheckResult[];
}

/** @param onResult called after each check. */
export async function examine(subject: Subject, onResult: (result: CheckResult) => void): Promise<Diagnosis> {
  const runDirectory = await tryRunDirectory();
  const directory = runDirectory instanceof Error ? null : runDirectory;
  const probes = new HostProbes(subject.settings, subject.guest, directory);
  try {
    const context: DoctorContext = { subject, probes, runDirectory, hostRoot: '/' };
    const checks: CheckResult[] = [];
    for (const check of CHECKS) {
      const result = { name: check.name, ...(await findingOf(check, context)) };
      checks.push(result);
      onResult(result);
    }
    return { ...(await conclusion(probes, checks)), checks };
  } finally {
    await probes.close();
    directory?.close();
  }
}

/** The other checks are wanted all the same. */
async function findingOf(check: Check, context: DoctorContext): Promise<Finding> {
  try {
    return await check.run(context);
  } catch (error) {
    const why = messageOf(error);
    return warning(`the check itself failed: ${why}`, 'this is a bug of snapctr; please report it');
  }
}

async function conclusion(probes: HostProbes, checks: readonly CheckResult[]): Promise<Omit<Diagnosis, 'checks'>> {
  const ranking = await probes.ranking();
  const problems = checks.filter(({ status }) => status === 'problem');
  if (ranking.taken !== null && problems.length === 0) {
    return { ok: true, vmm: ranking.taken.name, accelerator: ranking.accelerator, reason: ranking.reason };
  }
  const reason =
    `functions cannot run in VMs here (${problems.map(({ name }) => name).join(', ')}); ` +
    '--vmm process works, as plain processes without isolation';
  return { ok: false, vmm: null, accelerator: null, reason };
}

async function tryRunDirectory(): Promise<RunDirectory | Error> {
  try {
    return await openRunDirectory();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
