/**
 * Runs in firerunner. The environment of a handler in the style of AWS Lambda, as far as it does not depend on the guest:
 * the runtime adds what does (`LAMBDA_TASK_ROOT`, `PATH`, `AWS_EXECUTION_ENV` and so on). Names as AWS documents them.
 */
import { logGroup } from '../../protocol/arn.ts';
import type { LaunchSpec } from '../../protocol/runner.ts';

/** Those that tell what the function is called. */
export const NAMING_VARIABLES: readonly string[] = ['AWS_LAMBDA_FUNCTION_NAME', 'AWS_LAMBDA_LOG_GROUP_NAME'];

/** The function's own variables win. */
export function lambdaEnvironment({ function: fn, machine }: LaunchSpec): Readonly<Record<string, string>> {
  const region = fn.arn.split(':')[3] ?? '';
  return {
    AWS_DEFAULT_REGION: region,
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(machine.memoryMib),
    AWS_LAMBDA_FUNCTION_NAME: fn.name,
    AWS_LAMBDA_FUNCTION_VERSION: fn.version,
    AWS_LAMBDA_LOG_GROUP_NAME: logGroup(fn.name),
    AWS_REGION: region,
    AWS_XRAY_CONTEXT_MISSING: 'LOG_ERROR',
    // An image's own come before these, and its command is its handler: the guest sees to both.
    ...(fn.container === undefined && { LANG: 'en_US.UTF-8', TZ: ':UTC', _HANDLER: fn.handler ?? '' }),
    ...fn.environment,
  };
}
