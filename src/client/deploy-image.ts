/** Runs in the commands of people. A container image at a controller, which fetches it itself: the function is made, or changed. */
import { basename } from 'node:path';
import { formatReference, located, parseReference } from '../oci/reference.ts';
import { ImageError } from '../oci/image-error.ts';
import { badInput } from './client-error.ts';
import { ROLE, type Deployed, type DeployOptions } from './deploy.ts';
import { changedMembers, membersOf, type FunctionSettings } from './function-settings.ts';
import type { LambdaClient } from './lambda-client.ts';
import { waitUntilDeployed } from './waiting.ts';

export interface ImageToDeploy {
  /** As the controller finds it. */
  readonly uri: string;
  /** For a function that is given no other. */
  readonly name: string;
}

/** @param text as somebody wrote it, paths counting from the working directory. @throws ClientError */
export function readImageName(text: string): ImageToDeploy {
  try {
    const reference = located(parseReference(text), process.cwd());
    const path = reference.kind === 'registry' ? reference.path : reference.file.replace(/\.tar$/, '');
    return {
      uri: formatReference(reference),
      name: basename(path)
        .replaceAll(/[^A-Za-z0-9_-]/g, '-')
        .slice(0, 64),
    };
  } catch (error) {
    if (error instanceof ImageError) return badInput(error.message, error);
    throw error;
  }
}

/** @throws ClientError; `not_deployed` if the new version cannot serve: then the one before does. */
export async function deployImage(
  client: LambdaClient,
  { uri }: ImageToDeploy,
  settings: FunctionSettings & { readonly name: string },
  options: DeployOptions,
): Promise<Deployed> {
  const { name } = settings;
  if (settings.runtime !== undefined || settings.handler !== undefined || settings.layers !== undefined) {
    badInput('an image says itself what is started in it: leave --runtime, --handler and --layer out');
  }
  const members = membersOf(settings);
  const current = await client.findFunction(name);
  options.onProgress('having the controller look at the image');
  if (current === null) {
    await client.createImageFunction({
      FunctionName: name,
      Role: ROLE,
      ...members,
      PackageType: 'Image',
      Code: { ImageUri: uri },
    });
    return { change: 'created', configuration: await waitUntilDeployed(client, name, options) };
  }
  const changed = changedMembers(members, current.Configuration);
  if (Object.keys(changed).length > 0) {
    await client.updateConfiguration(name, changed);
    await waitUntilDeployed(client, name, options);
  }
  const { CodeSha256 } = await client.updateImage(name, uri);
  const configuration = await waitUntilDeployed(client, name, options);
  const isSame = Object.keys(changed).length === 0 && CodeSha256 === current.Configuration.CodeSha256;
  return { change: isSame ? 'unchanged' : 'updated', configuration };
}
