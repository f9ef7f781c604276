/** Runs in the commands of people. What is set at a function, or at an alias or version of it, by an operation of its own. */
import { LATEST } from '../protocol/arn.ts';
import type { FunctionUrl } from './answers.ts';
import type { LambdaClient, Members } from './lambda-client.ts';

export interface QualifiedSetting {
  readonly kind: 'provisioned-concurrency' | 'event-invoke-config' | 'url';
  readonly functionName: string;
  readonly qualifier: string | undefined;
  /** As the operation that sets it has them. */
  readonly members: Members;
}

/**
 * What is there already takes these members.
 * @returns the address, if it was one. @throws ClientError
 */
export async function setQualified(client: LambdaClient, setting: QualifiedSetting): Promise<FunctionUrl | null> {
  const { kind, functionName, qualifier, members } = setting;
  switch (kind) {
    case 'url':
      return client.putUrl(functionName, qualifier, members);
    case 'event-invoke-config':
      await client.putEventInvokeConfig(functionName, qualifier, members);
      return null;
    case 'provisioned-concurrency':
      await client.putProvisionedConcurrency(functionName, qualifier ?? LATEST, members);
      return null;
  }
}
