/** Runs in snapctr. Has the snapshots of functions made without serving anything. */
import type { QemuAccelerator } from '../../protocol/runner.ts';
import type { VmmWish } from '../../protocol/vmms.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import type { Config } from '../config/config.ts';
import { launchSpec } from './launch-spec.ts';
import type { Logger } from '../log.ts';
import { RunnerClient } from './runner-client.ts';
import { runnerCommand } from './runner-command.ts';

export interface PrepareOptions {
  readonly vmm: VmmWish;
  readonly accel: 'auto' | QemuAccelerator;
  readonly bootTimeoutMs: number;
  readonly logger: Logger;
}

/**
 * @param tell takes lines of progress for a person.
 * @returns for each function the name of its layer in the store; null if it could not be made.
 * @throws Error if firerunner does not start.
 */
export async function prepareSnapshots(
  config: Config,
  functions: readonly FunctionVersion[],
  { vmm, accel, bootTimeoutMs, logger }: PrepareOptions,
  tell: (text: string) => void,
): Promise<ReadonlyMap<string, string | null>> {
  const runner = new RunnerClient(runnerCommand({ vmm, accel }, config), logger);
  await runner.start();
  try {
    if (!runner.abilities.canRestore) throw new Error('this VMM has no snapshots; choose another one with --vmm');
    const layers = functions.map(
      (fn) =>
        new Promise<[string, string | null]>((resolve) => {
          runner.prepare(fn.name, launchSpec(config, fn, { bootTimeoutMs, useSnapshots: true }), {
            onPreparing: (text) => tell(`${fn.name}: ${text}`),
            onPreparationLog: (_stream, text) => tell(`${fn.name}: ${text.trimEnd()}`),
            onPrepared: (layer, builtMs) => {
              tell(`${fn.name}: ${builtMs === null ? 'up to date' : `made in ${(builtMs / 1000).toFixed(1)} s`}`);
              resolve([fn.name, layer]);
            },
            onUnprepared: (failure) => {
              const why =
                failure.kind === 'function' ? `${failure.failure.type}: ${failure.failure.message}` : failure.message;
              tell(`${fn.name}: FAILED: ${why}`);
              resolve([fn.name, null]);
            },
          });
        }),
    );
    return new Map(await Promise.all(layers));
  } finally {
    await runner.close();
  }
}
