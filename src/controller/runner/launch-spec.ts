/** Runs in snapctr. What firerunner is told of a function that it is to launch. */
import { functionArn } from '../../protocol/arn.ts';
import type { LaunchSpec, SnapshotSource } from '../../protocol/runner.ts';
import { WEB_KERNEL_ARGUMENT, webCommand } from '../../protocol/web.ts';
import type { FunctionConfig } from '../../registry/function-version.ts';
import type { Config } from '../config/config.ts';

export interface LaunchOptions {
  /** From launch to a function that can be invoked, in ms. */
  readonly bootTimeoutMs: number;
  /** False: every VM is booted. */
  readonly useSnapshots: boolean;
}

export function launchSpec(config: Config, fn: FunctionConfig, options: LaunchOptions): LaunchSpec {
  return {
    machine: {
      memoryMib: fn.memoryMib,
      vcpus: fn.vcpus,
      kernelPath: config.kernelPath,
      initrdPath: config.initrdPath,
      rootfsPath: fn.runtimefsPath,
      appfsPath: fn.appfs?.path ?? null,
      kernelArgs: fn.web === undefined ? '' : WEB_KERNEL_ARGUMENT,
      runtime: fn.web === undefined ? fn.runtime : 'provided',
      network: fn.network,
    },
    function: {
      name: fn.name,
      version: fn.version,
      handler: fn.handler,
      environment: fn.environment,
      arn: functionArn(config.lambda, fn.name),
      ...(fn.web === undefined ? {} : { web: { ...fn.web, command: webCommand(fn.runtime, fn.handler) } }),
      ...(fn.container !== undefined && { container: fn.container }),
    },
    bootTimeoutMs: options.bootTimeoutMs,
    snapshots: options.useSnapshots ? snapshotSource(config, fn) : null,
  };
}

function snapshotSource(config: Config, fn: FunctionConfig): SnapshotSource {
  if (fn.snapshotLayers !== null) return { kind: 'layers', directories: fn.snapshotLayers };
  return { kind: 'store', directory: config.snapshotDirectory };
}
