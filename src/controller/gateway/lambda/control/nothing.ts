/**
 * Runs in snapctr. Tools ask for these before they do anything with a function. There are none here, and that is what they are
 * told.
 */
import { functionArn } from '../../../../protocol/arn.ts';
import { functionOf, functionOfFile, ok, type Call, type Result } from './call.ts';

/** @throws ControlError if the function is not there. */
function arnOf(call: Call, unqualified: '' | ':$LATEST' = ''): string {
  const { name, qualifier } = functionOf(call);
  if (functionOfFile(call, name) === undefined) call.plane.functions.describe(name, qualifier);
  return functionArn(call.account, name) + (qualifier === null ? unqualified : `:${qualifier}`);
}

export function getRuntimeManagementConfig(call: Call): Result {
  return ok({ UpdateRuntimeOn: 'Auto', FunctionArn: arnOf(call, ':$LATEST') });
}

export function getFunctionRecursionConfig(call: Call): Result {
  arnOf(call);
  return ok({ RecursiveLoop: 'Allow' });
}
