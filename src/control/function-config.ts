/** Runs in snapctr. What a version's record means for the host: the image of its runtime, its package, its share. */
import { join } from 'node:path';
import { LATEST } from '../protocol/arn.ts';
import { needsVms, runtimefsOfAwsName, runtimeOfAwsName, RUNTIMES } from '../protocol/runtimes.ts';
import { webOf } from '../protocol/web.ts';
import type { FunctionConfig } from '../registry/function-version.ts';
import type { CodeRecord, FunctionSettings, VersionRecord } from '../registry/records.ts';
import { ControlError } from './control-error.ts';

/** AWS gives a function a whole CPU at this much memory, and another one for as much again. */
const MIB_PER_VCPU = 1769;

export interface Host {
  /** Of all VMs together, in MiB. */
  readonly memoryMib: number;
  /** Functions run in virtual machines. */
  readonly hasVms: boolean;
  /** Where the images of runtimes are. */
  readonly runtimefsDirectory: string;
  readonly packagePath: (sha256: string) => string;
}

function filesOf(
  { container }: FunctionSettings,
  { sha256, image }: CodeRecord,
  packagePath: Host['packagePath'],
): Pick<FunctionConfig, 'appfs' | 'container'> {
  if (image === undefined) return { appfs: Object.freeze({ kind: 'package', path: packagePath(sha256) }) };
  return {
    appfs: Object.freeze({ kind: 'container', path: image.resolved }),
    container: Object.freeze(container ?? { entryPoint: null, command: null, workingDirectory: null }),
  };
}

/**
 * @param number null: `$LATEST`.
 * @throws ControlError `invalid` for a runtime that is none of ours, more memory than there is for all VMs, or an application on a
 * port that cannot be meant.
 */
export function configOf(
  name: string,
  { settings, code }: VersionRecord,
  number: number | null,
  { memoryMib, hasVms, runtimefsDirectory, packagePath }: Host,
): FunctionConfig {
  const runtime = runtimeOfAwsName(settings.runtime);
  const runtimefs = runtimefsOfAwsName(settings.runtime);
  if (runtime === null || runtimefs === null)
    throw new ControlError('invalid', `the runtime ${settings.runtime} is not offered here`);
  if (settings.memoryMib > memoryMib) {
    const most = `snapctr has ${memoryMib} MB for all virtual machines (--mem)`;
    throw new ControlError('invalid', `a MemorySize of ${settings.memoryMib} MB can never run: ${most}`);
  }
  const { web, problem } = webOf(settings.environment ?? {});
  if (problem !== null) throw new ControlError('invalid', problem);
  if (!hasVms && web === null && RUNTIMES[runtime].host === null) throw new ControlError('invalid', needsVms(runtime));
  return Object.freeze({
    name,
    version: number === null ? LATEST : String(number),
    runtime,
    runtimefsPath: join(runtimefsDirectory, `${runtimefs}.ext4`),
    ...filesOf(settings, code, packagePath),
    layers: Object.freeze(settings.layers.map(({ code: layer }) => packagePath(layer.sha256))),
    vcpus: Math.max(1, Math.round(settings.memoryMib / MIB_PER_VCPU)),
    memoryMib: settings.memoryMib,
    concurrencyLimit: null,
    timeoutMs: settings.timeoutS * 1000,
    handler: settings.handler,
    environment: Object.freeze({ ...settings.environment }),
    snapshotLayers: null,
    ...(settings.tenantIsolation === undefined ? {} : { isolatesTenants: true }),
    ...(web === null ? {} : { web }),
    network: false,
  });
}
