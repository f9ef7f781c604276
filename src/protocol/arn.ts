/**
 * Runs in snapctr and in firerunner. The names of functions in the style of AWS: what handlers find in their context,
 * and clients may use for a name.
 */

/** In whose name all functions run. */
export interface LambdaAccount {
  /** Such as "us-east-1". */
  readonly region: string;
  /** Twelve digits. */
  readonly accountId: string;
}

export const DEFAULT_ACCOUNT: LambdaAccount = { region: 'us-east-1', accountId: '000000000000' };

/** The only one there is here; AWS has others for China and for governments. */
export const PARTITION = 'aws';

/** ARN of a function without a qualifier. */
export function functionArn({ region, accountId }: LambdaAccount, name: string): string {
  return `arn:${PARTITION}:lambda:${region}:${accountId}:function:${name}`;
}

/** The version of a function that has no number. */
export const LATEST = '$LATEST';

export function logGroup(functionName: string): string {
  return `/aws/lambda/${functionName}`;
}

/** ARN of a stream of NATS JetStream. AWS has none; it is made as those of its own are. */
export function streamArn({ region, accountId }: LambdaAccount, stream: string): string {
  return `arn:${PARTITION}:nats:${region}:${accountId}:stream/${stream}`;
}
