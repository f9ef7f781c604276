/** What changes functions, with deployments that never end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Control } from '../../../../src/control/control.ts';
import { openDataDirectory } from '../../../../src/control/data-directory.ts';
import { DEFAULT_ACCOUNT } from '../../../../src/protocol/arn.ts';
import { Deployments, type Build } from '../../../../src/registry/deployments.ts';
import type { FunctionRegistry } from '../../../../src/registry/function-registry.ts';

const NEVER: Build = () => new Promise(() => undefined);

/** @param build of what is deployed; default: it does not end. */
export async function withControl(
  registry: FunctionRegistry,
  use: (control: Control) => Promise<void>,
  build: Build = NEVER,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-control-'));
  const ofFiles = new Set(registry.list().map(({ name }) => name));
  const deployments = new Deployments({
    registry,
    prepare: () => Promise.resolve(),
    discard: () => undefined,
    atOnce: 100,
  });
  const control = await Control.open(await openDataDirectory(directory), {
    registry,
    deployments,
    createBuild: () => build,
    runtimefsDirectory: '/images',
    hasVms: true,
    account: DEFAULT_ACCOUNT,
    memoryMib: 1024,
    provisionedState: () => ({ allocated: 0, available: 0, problem: null }),
    fileOf: (name) => (ofFiles.has(name) ? 'functions.yaml' : null),
    onProblem: () => undefined,
  });
  try {
    await use(control);
  } finally {
    deployments.close();
    await control.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
