/** Runs in the commands of people. From a place on the disk to a function: what there is, what goes into it, and its deployment. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { FunctionDescription } from './answers.ts';
import { badInput } from './client-error.ts';
import { deploy, type Deployed, type DeployOptions } from './deploy.ts';
import { awsRuntime } from './detection.ts';
import type { FunctionSettings } from './function-settings.ts';
import type { LambdaClient } from './lambda-client.ts';
import { withContents } from './package-contents.ts';
import { MAX_ZIP_BYTES, withZip, type Zip } from './zip.ts';

export interface PlaceOptions extends DeployOptions {
  /** The environment is added to that which the function has, instead of taking its place. */
  readonly keepsVariables: boolean;
}

export interface PathOptions extends PlaceOptions {
  /** False: packages are taken as they lie in the directory. */
  readonly install: boolean;
  readonly onNote: (text: string) => void;
}

export type NamedSettings = FunctionSettings & { readonly name: string };

const TOO_LARGE = 'leave files out by a .snapfaasignore, bundle the handler (--bundle), or put packages into a layer';

/** @throws ClientError, TreeError and ToolError with what to change. */
export async function deployDirectory(
  client: LambdaClient,
  directory: string,
  settings: NamedSettings,
  options: PathOptions,
): Promise<Deployed> {
  const current = await client.findFunction(settings.name);
  const { onProgress, signal } = options;
  const known = current?.Configuration;
  onProgress('looking at the files');
  const { Handler: knownHandler, Runtime: knownRuntime } = known ?? {};
  const contentsOptions = { settings, knownHandler, knownRuntime, install: options.install, onProgress, signal };
  return withContents(directory, contentsOptions, async ({ language, handler, entries, notes }) => {
    notes.forEach((text) => options.onNote(text));
    const runtime = settings.runtime ?? sameLanguage(known?.Runtime, language) ?? language;
    onProgress('packing');
    const whole = {
      ...(options.keepsVariables ? addVariables(settings, current) : settings),
      runtime: awsRuntime(runtime),
      handler,
    };
    return withZip(
      entries,
      TOO_LARGE,
      (zip) => deploy(client, { name: settings.name, settings: whole, zip }, current, options),
      signal,
    );
  });
}

/** @throws ClientError with what to change. */
export async function deployZip(
  client: LambdaClient,
  file: string,
  settings: NamedSettings,
  options: PlaceOptions,
): Promise<Deployed> {
  const zip = await readZip(file);
  const current = await client.findFunction(settings.name);
  if (current === null && (settings.runtime === undefined || settings.handler === undefined)) {
    badInput(`${settings.name} is new, and an archive does not tell what it is: give --runtime and --handler`);
  }
  const runtime = settings.runtime === undefined ? {} : { runtime: awsRuntime(settings.runtime) };
  const whole = { ...(options.keepsVariables ? addVariables(settings, current) : settings), ...runtime };
  return deploy(client, { name: settings.name, settings: whole, zip }, current, options);
}

function addVariables(settings: NamedSettings, current: FunctionDescription | null): NamedSettings {
  const { environment } = settings;
  if (environment === undefined) return settings;
  return { ...settings, environment: { ...current?.Configuration.Environment?.Variables, ...environment } };
}

function sameLanguage(runtime: string | undefined, language: string): string | undefined {
  return runtime?.startsWith(language.replace(/\d+$/, '')) === true ? runtime : undefined;
}

/** @throws ClientError if it is none, or too large. */
export async function readZip(file: string): Promise<Zip> {
  const { size } = await stat(file);
  if (size > MAX_ZIP_BYTES)
    badInput(`${file} is larger than ${MAX_ZIP_BYTES / 1024 / 1024} MB; put packages into a layer`);
  const handle = await open(file, 'r').catch((error: unknown) =>
    badInput(`${file} cannot be read; correct its rights`, error),
  );
  try {
    const { buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    if (buffer.toString('latin1', 0, 2) !== 'PK')
      badInput(`${file} is no zip archive; name a directory, or make it with "zip -r"`);
  } finally {
    await handle.close();
  }
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return { file, bytes: size, sha256: hash.digest('base64') };
}
