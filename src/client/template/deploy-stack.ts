/**
 * Runs in the commands of people. What a template asks for, at a controller:
 *
 * ```
 *   layers ──▶ functions ──▶ versions ──▶ aliases ──▶ what is set at them, and invokes them ──▶ permissions
 * ```
 *
 * Each refers to those before it only. What is as the template has it stays as it is; what the template no longer has stays too.
 */
import { stat } from 'node:fs/promises';
import { DEFAULT_ACCOUNT, type LambdaAccount } from '../../protocol/arn.ts';
import type { Alias, EventSourceMapping, FunctionConfiguration, FunctionUrl } from '../answers.ts';
import { ClientError } from '../client-error.ts';
import { deploy, type Deployed } from '../deploy.ts';
import { deployDirectory, deployZip, readZip } from '../deploy-path.ts';
import { awsRuntime, languageOf } from '../detection.ts';
import type { FunctionSettings } from '../function-settings.ts';
import type { LambdaClient } from '../lambda-client.ts';
import type { SchedulesClient } from '../schedules-client.ts';
import { allEntries } from '../package-contents.ts';
import { setQualified } from '../qualified-settings.ts';
import { moveAlias, publish } from '../versions.ts';
import { withZip, type Zip } from '../zip.ts';
import type { Given } from './intrinsics.ts';
import { Stack, type TemplateFunction, type TemplateLayer, type TemplatePermission } from './stack.ts';
import type { Template } from './template-file.ts';

export interface StackOptions {
  readonly given: Given;
  /** False: packages are taken as they lie in the directories. What was built has them there anyway. */
  readonly install: boolean;
  /** For each function, in ms. */
  readonly patienceMs: number;
  /** Runs a step and shows it. */
  readonly step: <T>(
    name: string,
    work: (update: (text: string) => void) => Promise<T>,
    describe: (result: T) => string,
  ) => Promise<T>;
  readonly signal: AbortSignal;
}

export interface DeployedStack {
  readonly stack: string;
  readonly layers: readonly { readonly name: string; readonly arn: string; readonly change: 'created' | 'unchanged' }[];
  readonly functions: readonly ({ readonly id: string; readonly name: string } & Deployed)[];
  readonly versions: readonly FunctionConfiguration[];
  readonly aliases: readonly Alias[];
  readonly urls: readonly FunctionUrl[];
  readonly schedules: readonly { readonly functionName: string; readonly name: string }[];
  readonly eventSources: readonly EventSourceMapping[];
  /** What is left out. */
  readonly notes: readonly string[];
}

/** AWS's, where a template says nothing: it is what the function is to be, and not what it was. */
const DEFAULT_MEMORY_MIB = 128;
const DEFAULT_TIMEOUT_S = 3;
const TOO_LARGE_LAYER = 'split the layer in two';

/** @throws ClientError with what to change; what was deployed by then stays. */
export async function deployStack(
  client: LambdaClient,
  schedulesClient: Pick<SchedulesClient, 'put'>,
  template: Template,
  options: StackOptions,
): Promise<DeployedStack> {
  const stack = new Stack(template, options.given, await accountOf(client));
  const notes: string[] = [];
  const { step, patienceMs, signal } = options;

  const layers = [];
  for (const layer of stack.layers()) {
    const made = await step(
      `layer ${layer.name}`,
      () => publishLayer(client, layer, signal),
      ({ change }) => change,
    );
    stack.made(layer.id, made.arn, { LayerVersionArn: made.arn });
    layers.push({ name: layer.name, ...made });
  }

  const functions = [];
  for (const one of stack.functions()) {
    const deployed = await step(
      `function ${one.name}`,
      async (onProgress) => {
        const path = { patienceMs, signal, onProgress, onNote: (text: string) => void notes.push(text) };
        return deployFunction(client, one, template.isBuilt, {
          ...path,
          keepsVariables: false,
          install: options.install && !template.isBuilt,
        });
      },
      ({ change }) => change,
    );
    functions.push({ id: one.id, name: one.name, ...deployed });
  }

  const versions = [];
  for (const { id, functionName, description } of stack.versions()) {
    const members = description === undefined ? {} : { Description: description };
    const version = await publish(client, functionName, members, patienceMs, signal);
    stack.made(id, version.FunctionArn, { Version: version.Version, FunctionArn: version.FunctionArn });
    versions.push(version);
  }

  const aliases = [];
  for (const { id, functionName, name, version, weights, description } of stack.aliases()) {
    const alias = await moveAlias(client, functionName, name, version, weights, description);
    if (alias.AliasArn !== undefined) stack.made(id, alias.AliasArn, { AliasArn: alias.AliasArn });
    aliases.push(alias);
  }

  const urls = [];
  for (const setting of stack.settings()) {
    const url = await setQualified(client, setting);
    if (url !== null) urls.push(url);
  }

  const schedules = [];
  for (const schedule of stack.schedules()) {
    // One that says what it said before goes on counting.
    await schedulesClient.put(schedule);
    schedules.push({ functionName: schedule.functionName, name: schedule.name });
  }

  const eventSources = [];
  for (const { functionName, members } of stack.eventSources()) {
    eventSources.push(await client.putEventSource(functionName, members));
  }

  for (const permission of stack.permissions()) await permit(client, permission);
  return {
    stack: template.stack,
    ...{ layers, functions, versions, aliases, urls, schedules, eventSources },
    notes: [...stack.notes, ...notes],
  };
}

/** A controller tells it with each function. One without any is new, and has the account of those that were not told another. */
async function accountOf(client: LambdaClient): Promise<LambdaAccount> {
  for await (const { FunctionArn } of client.listFunctions()) {
    const [, , , region, accountId] = FunctionArn.split(':');
    if (region !== undefined && accountId !== undefined) return { region, accountId };
  }
  return DEFAULT_ACCOUNT;
}

async function publishLayer(
  client: LambdaClient,
  { name, path, members }: TemplateLayer,
  signal: AbortSignal,
): Promise<{ readonly arn: string; readonly change: 'created' | 'unchanged' }> {
  const send = async (zip: Zip): Promise<{ readonly arn: string; readonly change: 'created' | 'unchanged' }> => {
    const newest = await client.newestLayerVersion(name);
    if (newest?.Content?.CodeSha256 === zip.sha256) return { arn: newest.LayerVersionArn, change: 'unchanged' };
    return { arn: (await client.publishLayerVersion(name, members, zip)).LayerVersionArn, change: 'created' };
  };
  if (!(await stat(path)).isDirectory()) return send(await readZip(path));
  return withZip(await allEntries(path), TOO_LARGE_LAYER, send, signal);
}

async function deployFunction(
  client: LambdaClient,
  wanted: TemplateFunction,
  isBuilt: boolean,
  options: Parameters<typeof deployDirectory>[3],
): Promise<Deployed> {
  const { name, code, runtime, handler, description, environment, layers } = wanted;
  const settings: FunctionSettings & { readonly name: string } = {
    name,
    runtime,
    handler,
    description,
    memory: wanted.memory ?? DEFAULT_MEMORY_MIB,
    timeout: wanted.timeout ?? DEFAULT_TIMEOUT_S,
    environment,
    layers,
    // What was built was bundled by whoever built it.
    ...(isBuilt && { bundle: false }),
  };
  const deployed =
    'text' in code
      ? await deployText(client, settings, code.text, options)
      : await deployFiles(client, settings, code.path, options);
  if (wanted.reservedConcurrency !== undefined) await client.putConcurrency(name, wanted.reservedConcurrency);
  if (Object.keys(wanted.tags).length > 0) await client.tagFunction(deployed.configuration.FunctionArn, wanted.tags);
  return deployed;
}

async function deployFiles(
  client: LambdaClient,
  settings: FunctionSettings & { readonly name: string },
  path: string,
  options: Parameters<typeof deployDirectory>[3],
): Promise<Deployed> {
  const isDirectory = (await stat(path)).isDirectory();
  return isDirectory ? deployDirectory(client, path, settings, options) : deployZip(client, path, settings, options);
}

/** Its only file is named `index`, as with CloudFormation. */
async function deployText(
  client: LambdaClient,
  { runtime = '', ...settings }: FunctionSettings & { readonly name: string },
  text: string,
  options: Parameters<typeof deployDirectory>[3],
): Promise<Deployed> {
  const file = languageOf(runtime) === 'python3' ? 'index.py' : 'index.js';
  const entries = new Map([[file, { type: 'content', content: Buffer.from(text) } as const]]);
  const current = await client.findFunction(settings.name);
  const whole = { ...settings, runtime: awsRuntime(runtime), handler: settings.handler ?? 'index.handler' };
  return withZip(
    entries,
    '',
    (zip) => deploy(client, { name: settings.name, settings: whole, zip }, current, options),
    options.signal,
  );
}

/** One of the same name that is there already may say something else. */
async function permit(client: LambdaClient, { functionName, qualifier, members }: TemplatePermission): Promise<void> {
  try {
    await client.addPermission(functionName, members, qualifier);
  } catch (error) {
    if (!(error instanceof ClientError) || error.type !== 'ResourceConflictException') throw error;
    await client.removePermission(functionName, String(members['StatementId']), qualifier);
    await client.addPermission(functionName, members, qualifier);
  }
}
