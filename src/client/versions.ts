/** Runs in the commands of people. Versions that are kept, the aliases that name them, and the way back to one. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Alias, FunctionConfiguration } from './answers.ts';
import { badInput, ClientError } from './client-error.ts';
import { deploy, type Deployed, type DeployOptions } from './deploy.ts';
import { changedMembers, membersOf, type FunctionSettings } from './function-settings.ts';
import type { LambdaClient, Members } from './lambda-client.ts';
import { waitUntilDeployed } from './waiting.ts';

export async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Makes a version of what is deployed, unless the last one is the same, and waits until it can serve. */
export async function publish(
  client: LambdaClient,
  name: string,
  members: Members,
  patienceMs: number,
  signal: AbortSignal,
): Promise<FunctionConfiguration> {
  const { Version } = await client.publishVersion(name, members);
  return waitUntilDeployed(client, name, { qualifier: Version, patienceMs, signal });
}

/** Published ones, the oldest first. */
export async function publishedVersions(client: LambdaClient, name: string): Promise<readonly FunctionConfiguration[]> {
  const all = await collect(client.listVersions(name));
  return all.filter(({ Version }) => /^\d+$/.test(Version)).sort((a, b) => Number(a.Version) - Number(b.Version));
}

/** Makes the alias, or has it name another version, alone. */
export async function moveAlias(
  client: LambdaClient,
  name: string,
  alias: string,
  version: string,
  weights: Readonly<Record<string, number>> = {},
  description?: string,
): Promise<Alias> {
  const members = {
    FunctionVersion: version,
    RoutingConfig: { AdditionalVersionWeights: weights },
    ...(description !== undefined && { Description: description }),
  };
  if ((await client.findAlias(name, alias)) !== null) return client.updateAlias(name, alias, members);
  return client.createAlias(name, { Name: alias, ...members });
}

/**
 * Has an alias name the version before the one that it names.
 * @param to that version instead.
 */
export async function rollBackAlias(
  client: LambdaClient,
  name: string,
  alias: string,
  to: string | undefined,
): Promise<Alias> {
  const { FunctionVersion } = await client.getAlias(name, alias);
  const versions = (await publishedVersions(client, name)).map(({ Version }) => Version);
  const before = versions.filter((version) => Number(version) < Number(FunctionVersion)).at(-1);
  const target = to ?? before ?? badInput(`${name} has no version before ${FunctionVersion}, which "${alias}" names`);
  return moveAlias(client, name, alias, target);
}

/**
 * Deploys again what a published version was: its code and its settings.
 *
 * @param to the version; by default the newest that is other than what is deployed.
 * @throws ClientError if there is none.
 */
export async function rollBack(
  client: LambdaClient,
  name: string,
  to: string | undefined,
  options: DeployOptions,
): Promise<Deployed & { readonly version: string }> {
  const current = await client.getFunction(name);
  const versions = await publishedVersions(client, name);
  const target =
    to === undefined
      ? versions.filter((version) => isOther(version, current.Configuration)).at(-1)
      : versions.find(({ Version }) => Version === to);
  if (target === undefined) return badInput(noTarget(name, versions, to));
  const settings = settingsFrom(target);
  const { Code } = await client.getFunction(name, target.Version);
  if (Code?.Location === undefined) {
    throw new ClientError('bad_answer', `the controller does not tell where the code of version ${target.Version} is`);
  }
  options.onProgress(`fetching version ${target.Version}`);
  const content = await client.download(Code.Location);
  const directory = await mkdtemp(join(tmpdir(), 'snapfaas-version-'));
  try {
    const file = join(directory, 'package.zip');
    await writeFile(file, content);
    const zip = { file, bytes: content.length, sha256: createHash('sha256').update(content).digest('base64') };
    return { ...(await deploy(client, { name, settings, zip }, current, options)), version: target.Version };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function isOther(version: FunctionConfiguration, latest: FunctionConfiguration): boolean {
  const changed = changedMembers(membersOf(settingsFrom(version)), latest);
  return version.CodeSha256 !== latest.CodeSha256 || Object.keys(changed).length > 0;
}

function settingsFrom(version: FunctionConfiguration): FunctionSettings {
  const { Runtime, Handler, MemorySize, Timeout, Environment, Description, Layers } = version;
  return {
    runtime: Runtime,
    handler: Handler,
    memory: MemorySize,
    timeout: Timeout,
    environment: Environment?.Variables ?? {},
    description: Description ?? '',
    layers: (Layers ?? []).map(({ Arn }) => Arn),
  };
}

function noTarget(name: string, versions: readonly FunctionConfiguration[], to: string | undefined): string {
  const kept = versions.map(({ Version }) => Version).join(', ');
  if (kept === '') {
    return `no versions of ${name} were kept to go back to; "snapctr deploy --publish" keeps one at each deployment`;
  }
  return to === undefined
    ? `all versions of ${name} (${kept}) are as what is deployed`
    : `${name} has no version ${to}; it has ${kept}`;
}
