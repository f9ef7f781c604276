/**
 * Runs in the commands of people. A package at a controller: the function is made, or changed where something has changed.
 *
 * ```
 *   nothing there ── CreateFunction ─────────────────────────────────────────▶ wait
 *   something     ── UpdateFunctionConfiguration ▶ wait ─ UpdateFunctionCode ─▶ wait
 *                    where settings differ                where the archive does
 * ```
 */
import type { FunctionConfiguration, FunctionDescription } from './answers.ts';
import { ClientError } from './client-error.ts';
import { changedMembers, type FunctionSettings, membersOf } from './function-settings.ts';
import type { LambdaClient, Members } from './lambda-client.ts';
import { waitUntilDeployed } from './waiting.ts';
import type { Zip } from './zip.ts';

/** Any will do: functions have no identity of AWS here. */
export const ROLE = 'arn:aws:iam::000000000000:role/snapfaas';

export interface Deployable {
  readonly name: string;
  readonly settings: FunctionSettings;
  readonly zip: Zip;
}

export interface DeployOptions {
  /** How long a deployment may take, in ms. */
  readonly patienceMs: number;
  readonly onProgress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface Deployed {
  readonly change: 'created' | 'updated' | 'unchanged';
  readonly configuration: FunctionConfiguration;
}

/**
 * @param current what the controller has; null: nothing.
 * @throws ClientError; `not_deployed` if the new version cannot serve: then the one before does.
 */
export async function deploy(
  client: LambdaClient,
  { name, settings, zip }: Deployable,
  current: FunctionDescription | null,
  options: DeployOptions,
): Promise<Deployed> {
  const members = membersOf(settings);
  const wait = (): Promise<FunctionConfiguration> => waitUntilDeployed(client, name, options);
  const sending = `sending ${formatBytes(zip.bytes)}`;
  if (current === null) {
    options.onProgress(sending);
    await client.createFunction({ FunctionName: name, Role: ROLE, ...members }, zip);
    return { change: 'created', configuration: await wait() };
  }
  const { Configuration } = current;
  const changed = changedMembers(members, Configuration);
  const isNewCode = Configuration.CodeSha256 !== zip.sha256;
  const needsMore = Configuration.State === 'Failed' || Configuration.LastUpdateStatus === 'Failed';
  if (Object.keys(changed).length > 0) await changeSettings(client, name, changed, isNewCode, options);
  if (isNewCode || (needsMore && Object.keys(changed).length === 0)) {
    options.onProgress(sending);
    await client.updateCode(name, {}, zip);
  } else if (Object.keys(changed).length === 0) return { change: 'unchanged', configuration: Configuration };
  return { change: 'updated', configuration: await wait() };
}

/** Settings that do not go with the code there is may go with the code that follows. */
async function changeSettings(
  client: LambdaClient,
  name: string,
  changed: Members,
  isNewCode: boolean,
  options: DeployOptions,
): Promise<void> {
  options.onProgress(`changing ${Object.keys(changed).join(', ')}`);
  await client.updateConfiguration(name, changed);
  if (!isNewCode) return;
  try {
    await waitUntilDeployed(client, name, options);
  } catch (error) {
    if (!(error instanceof ClientError) || error.code !== 'not_deployed') throw error;
  }
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}
