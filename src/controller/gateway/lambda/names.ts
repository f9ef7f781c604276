/** Runs in snapctr. Which function a request to the Lambda API means: names, partial and whole ARNs, qualifiers. */
import { LATEST, functionArn, PARTITION, type LambdaAccount } from '../../../protocol/arn.ts';
import type { FunctionRegistry, RegisteredFunction } from '../../../registry/function-registry.ts';
import { ApiError, validationError } from './errors.ts';

/** The pattern of the API's model for `FunctionName`, with names for its groups below. */
const NAME_PATTERN =
  '(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?' +
  '([a-zA-Z0-9-_\\.]+)(:(\\$LATEST(\\.PUBLISHED)?|[a-zA-Z0-9-_]+))?';
const QUALIFIER_PATTERN = '(|[a-zA-Z0-9$_-]+)';
const NAME = new RegExp(`^${NAME_PATTERN}$`);
const QUALIFIER = new RegExp(`^${QUALIFIER_PATTERN}$`);
const MAX_NAME_CHARACTERS = 64;
const MAX_ARN_CHARACTERS = 256;

export interface FunctionReference {
  readonly name: string;
  /** As the caller gave it, in the name or beside it; null: none. */
  readonly qualifier: string | null;
}

/**
 * @param text the path segment, decoded.
 * @param qualifier of the query; null: none.
 * @throws ApiError if it is no name, or that of another partition, region or account.
 */
export function parseFunctionName(text: string, qualifier: string | null, account: LambdaAccount): FunctionReference {
  if (text.length > MAX_ARN_CHARACTERS) {
    throw validationError('functionName', text, `Member must have length less than or equal to ${MAX_ARN_CHARACTERS}`);
  }
  const match = NAME.exec(text);
  if (match === null) {
    throw validationError('functionName', text, `Member must satisfy regular expression pattern: ${NAME_PATTERN}`);
  }
  const [partition, region, accountId, name = '', inName] = [match[2], match[3], match[8], match[10], match[12]];
  if (name.length > MAX_NAME_CHARACTERS) {
    throw validationError('functionName', name, `Member must have length less than or equal to ${MAX_NAME_CHARACTERS}`);
  }
  if (qualifier !== null && !QUALIFIER.test(qualifier)) {
    const constraint = `Member must satisfy regular expression pattern: ${QUALIFIER_PATTERN}`;
    throw validationError('qualifier', qualifier, constraint);
  }
  const given = qualifier === '' ? null : qualifier;
  if (inName !== undefined && given !== null && inName !== given) {
    throw new ApiError(
      'InvalidParameterValueException',
      'The derived qualifier from the function name does not match the specified qualifier.',
    );
  }
  if (partition !== undefined && partition !== PARTITION) {
    throw new ApiError(
      'ResourceNotFoundException',
      `Functions from '${partition}' are not reachable in this partition ('${PARTITION}')`,
    );
  }
  if (region !== undefined && region.slice(0, -1) !== account.region) {
    throw new ApiError(
      'ResourceNotFoundException',
      `Functions from '${region.slice(0, -1)}' are not reachable in this region ('${account.region}')`,
    );
  }
  if (accountId !== undefined && accountId.slice(0, -1) !== account.accountId) {
    throw new ApiError('AccessDeniedException', 'the function belongs to another account');
  }
  return { name, qualifier: inName ?? given };
}

/**
 * The function that is meant. Functions have one version, `$LATEST`, and no aliases.
 *
 * @param unqualified what the message of the API says for a name without a qualifier.
 * @throws ApiError ResourceNotFoundException.
 */
export function findFunction(
  functions: Pick<FunctionRegistry, 'get'>,
  { name, qualifier }: FunctionReference,
  account: LambdaAccount,
  unqualified: '' | ':$LATEST',
): RegisteredFunction {
  const fn = functions.get(name);
  if (fn !== undefined && (qualifier === null || qualifier === LATEST)) return fn;
  const suffix = qualifier === null ? unqualified : `:${qualifier}`;
  throw new ApiError('ResourceNotFoundException', `Function not found: ${functionArn(account, name)}${suffix}`);
}

/** The ARN as the caller's words make it: with a qualifier only if one was given. */
export function invokedArn(account: LambdaAccount, { name, qualifier }: FunctionReference): string {
  return functionArn(account, name) + (qualifier === null ? '' : `:${qualifier}`);
}
