/** All that a function made over an API goes through, with plain processes for VMs: what a restart of snapctr would be is another one of these. */
import { pino } from 'pino';
import { Control } from '../../src/control/control.ts';
import { openDataDirectory } from '../../src/control/data-directory.ts';
import type { CreateInput, FunctionDescription, SettingsInput } from '../../src/control/descriptions.ts';
import { BuilderClient } from '../../src/controller/builder/builder-client.ts';
import { createBuild } from '../../src/controller/builder/function-files.ts';
import { loadConfig } from '../../src/controller/config/config.ts';
import { Controller } from '../../src/controller/controller.ts';
import { newTaskId, type Outcome } from '../../src/controller/task.ts';
import type { ReceivedPackage } from '../../src/packages/store.ts';
import { Deployments } from '../../src/registry/deployments.ts';
import { FunctionRegistry } from '../../src/registry/function-registry.ts';
import type { VmmName } from '../../src/protocol/vmms.ts';
import { oneByOne } from '../support/one-by-one.ts';
import { makeZip } from '../packages/zip.ts';
import { BUILDER, FIRERUNNER, type Workspace } from '../support/snapctr.ts';

const MEMORY_MIB = 1024;
/** For a change to come to its end; a VM under emulation takes long. */
const PATIENCE_MS = 240_000;

export interface Stand {
  readonly control: Control;
  readonly controller: Controller;
  readonly registry: FunctionRegistry;
  receive(zip: Buffer): Promise<ReceivedPackage>;
  /** What the function answers, parsed. @throws the error of the outcome. */
  invoke(name: string, payload: unknown, qualifier?: string): Promise<unknown>;
  /** Resolves when the last change of it has come to its end, and what it needs no more is gone. */
  settled(name: string, qualifier?: string): Promise<FunctionDescription>;
  close(): Promise<void>;
}

export async function openStand(workspace: Workspace, data: string, vmm: VmmName = 'process'): Promise<Stand> {
  const logger = pino({ level: process.env['SNAPFAAS_TEST_LOG'] ?? 'silent' });
  const { memoryMib, cwd } = { memoryMib: MEMORY_MIB, cwd: process.cwd() };
  const config = loadConfig(workspace.config, { memoryMib, hostMemoryMib: memoryMib, vmm, cwd });
  const guest = vmm === 'process' ? [] : ['--kernel', config.kernelPath, '--initrd', config.initrdPath];
  const registry = new FunctionRegistry();
  const controller = new Controller({
    config,
    registry,
    runnerCommand: [process.execPath, FIRERUNNER, '--serve', '--vmm', vmm, ...guest],
    bootTimeoutMs: 60_000,
    useSnapshots: true,
    logger,
  });
  const deployments = new Deployments({
    registry,
    prepare: (version) => controller.prepare(version),
    discard: (version) => controller.discard(version),
    atOnce: 10,
  });
  const builder = new BuilderClient([process.execPath, BUILDER], logger);
  const control = await Control.open(await openDataDirectory(data), {
    registry,
    deployments,
    createBuild: () => createBuild(builder, vmm, logger),
    runtimefsDirectory: config.runtimefsDirectory,
    hasVms: true,
    account: config.lambda,
    memoryMib,
    provisionedState: (name, qualifier) => controller.provisionedState(name, qualifier),
    fileOf: (name) => (name === 'of-a-file' ? 'functions.yaml' : null),
    onProblem: (name, problem) => logger.error(`${name}: ${problem}`),
  });
  await controller.start();
  const invoke = async (name: string, payload: unknown, qualifier?: string): Promise<unknown> => {
    const outcome = await new Promise<Outcome>((reply) => {
      const request = { function: name, qualifier: qualifier ?? null, payload: Buffer.from(JSON.stringify(payload)) };
      controller.submit({ id: newTaskId(), request, signal: new AbortController().signal, reply });
    });
    if (outcome.status === 'error') throw outcome.error;
    return JSON.parse(outcome.result.toString()) as unknown;
  };
  return {
    control,
    controller,
    registry,
    invoke,
    receive: (zip) => control.packages.receive(oneByOne([zip])),
    settled: async (name, qualifier) => {
      const deadline = Date.now() + PATIENCE_MS;
      for (;;) {
        const description = control.functions.describe(name, qualifier ?? null);
        const isRestored = registry.get(name)?.lastUpdateStatus !== 'InProgress';
        if (isRestored && description.lastUpdateStatus !== 'InProgress') {
          await control.functions.idle();
          return description;
        }
        if (Date.now() > deadline) throw new Error(`${name} does not settle: ${JSON.stringify(description)}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    close: async () => {
      deployments.close();
      await Promise.all([controller.close(), builder.close(), control.close()]);
    },
  };
}

/** The package of a handler `main.handle` in Python that answers with this text, its version and its event. */
export function packageOf(answer: string): Buffer {
  const lines = [
    'import os',
    'def handle(event, context):',
    `    return [${JSON.stringify(answer)}, os.environ["AWS_LAMBDA_FUNCTION_VERSION"], context.function_version, event]`,
  ];
  return makeZip([{ name: 'main.py', data: lines.join('\n') }]);
}

export const SETTINGS: SettingsInput = {
  runtime: 'python3.11',
  role: 'arn:aws:iam::000000000000:role/any',
  handler: 'main.handle',
  description: '',
  timeoutS: 30,
  memoryMib: 128,
  environment: null,
  layers: [],
  remembered: {},
};

export function newFunction(name: string, code: ReceivedPackage, keys: Partial<CreateInput> = {}): CreateInput {
  return { name, settings: SETTINGS, code, publish: false, tags: {}, ...keys };
}
