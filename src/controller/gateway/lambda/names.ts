/** Runs in snapctr. Which function a request to the Lambda API means: names, partial and whole ARNs, qualifiers. */
import { LATEST, functionArn, PARTITION, type LambdaAccount } from '../../../protocol/arn.ts';
import type { FunctionRegistry, RegisteredFunction, VersionState } from '../../../registry/function-registry.ts';
import { ApiError, validationError } from './errors.ts';

/** The pattern of the API's model for `FunctionName`, with names for its groups below. */
const NAME_PATTERN =
  '(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?' +
  '([a-zA-Z0-9-_\\.]+)(:(\\$LATEST(\\.PUBLISHED)?|[a-zA-Z0-9-_]+))?';
/** The model has another one for operations that change functions. */
const PLAIN_NAME_PATTERN =
  '(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?' +
  '([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?';
const MAX_PLAIN_ARN_CHARACTERS = 140;
const PLAIN_NAME = new RegExp(`^${PLAIN_NAME_PATTERN}$`);
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
 * The name that a function is to have, as `CreateFunction` takes it.
 *
 * @throws ApiError
 */
export function parseNewName(text: string, account: LambdaAccount): string {
  if (text.length > MAX_PLAIN_ARN_CHARACTERS) {
    const constraint = `Member must have length less than or equal to ${MAX_PLAIN_ARN_CHARACTERS}`;
    throw validationError('functionName', text, constraint);
  }
  const name = PLAIN_NAME.exec(text)?.[11];
  if (name === undefined) {
    const constraint = `Member must satisfy regular expression pattern: ${PLAIN_NAME_PATTERN}`;
    throw validationError('functionName', text, constraint);
  }
  if (name.length > MAX_NAME_CHARACTERS) {
    const { message } = validationError(
      'functionName',
      name,
      `Member must have length less than or equal to ${MAX_NAME_CHARACTERS}`,
    );
    throw new ApiError('InvalidParameterValueException', message);
  }
  const reference = parseFunctionName(text, null, account);
  if (reference.qualifier === null || reference.qualifier === LATEST) return reference.name;
  throw new ApiError('InvalidParameterValueException', 'A function is created without a version or an alias.');
}

/** The function that is tagged. @param arn whole. @throws ApiError */
export function parseTagged(arn: string, account: LambdaAccount): FunctionReference {
  const given = new ApiError(
    'InvalidParameterValueException',
    'Tags are of functions here: give the ARN of a function.',
  );
  if (!/^arn:[^:]*:lambda:[^:]*:[^:]*:function:/.test(arn)) throw given;
  const reference = parseFunctionName(arn, null, account);
  if (reference.qualifier === null) return reference;
  const message = 'Tags on function aliases and versions are not supported. Please specify a function ARN.';
  throw new ApiError('InvalidParameterValueException', message);
}

/** A version of a function that is there. */
export interface FoundFunction {
  readonly fn: RegisteredFunction;
  /** Where it is certain: an alias may lead to one of two. */
  readonly version: VersionState | null;
}

/**
 * The function that is meant, and the version.
 *
 * @param unqualified what the message of the API says for a name without a qualifier.
 * @throws ApiError ResourceNotFoundException.
 */
export function findFunction(
  functions: Pick<FunctionRegistry, 'get'>,
  { name, qualifier }: FunctionReference,
  account: LambdaAccount,
  unqualified: '' | ':$LATEST',
): FoundFunction {
  const fn = functions.get(name);
  if (fn !== undefined && (qualifier === null || qualifier === LATEST)) return { fn, version: fn };
  const alias = fn?.aliases.find((one) => one.name === qualifier);
  if (fn !== undefined && alias !== undefined) {
    const { version, routing } = alias;
    return {
      fn,
      version: routing !== null ? null : version === LATEST ? fn : (fn.published.get(String(version)) ?? null),
    };
  }
  const version = qualifier === null ? undefined : fn?.published.get(qualifier);
  if (fn !== undefined && version !== undefined) return { fn, version };
  const suffix = qualifier === null ? unqualified : `:${qualifier}`;
  throw new ApiError('ResourceNotFoundException', `Function not found: ${functionArn(account, name)}${suffix}`);
}

/** The ARN as the caller's words make it: with a qualifier only if one was given. */
export function invokedArn(account: LambdaAccount, { name, qualifier }: FunctionReference): string {
  return functionArn(account, name) + (qualifier === null ? '' : `:${qualifier}`);
}
