/** Runs in snapctr. Who may be told of events: what destinations and dead-letter targets can be, and which of them a caller may name. */
import { AccessError } from '../../../../auth/access-error.ts';
import { ApiError } from '../errors.ts';
import { findFunction, parseFunctionName } from '../names.ts';
import type { Call } from './call.ts';

/** A file in the data directory: a name, so that nobody writes elsewhere. */
const FILE_DESTINATION = /^file:[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,99}$/;

/** @returns null: there is to be none. @throws ApiError, AccessError */
export function checkedDestination(call: Call, text: string): string | null {
  if (text === '' || FILE_DESTINATION.test(text)) return text === '' ? null : text;
  if (/^https?:\/\//.test(text) && URL.canParse(text)) {
    // Whom snapctr can reach, a function need not.
    return authorized(() => call.caller.authorize('snapfaas:ReadStatus'), text, 'takes a key with the role admin');
  }
  if (!/^arn:[^:]*:lambda:[^:]*:[^:]*:function:/.test(text)) throw invalid(text);
  const reference = parseFunctionName(text, null, call.account);
  authorized(
    () => call.caller.authorize('lambda:InvokeFunction', reference.name),
    text,
    'takes a key that may invoke it',
  );
  findFunction(call.registry, reference, call.account, '');
  return text;
}

function authorized(check: () => void, text: string, what: string): string {
  try {
    check();
    return text;
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    throw new AccessError('AccessDeniedException', `the destination ${text} ${what}`);
  }
}

function invalid(text: string): ApiError {
  const shown = text.slice(0, 200);
  return new ApiError(
    'InvalidParameterValueException',
    `The provided destination ${shown} is invalid: give the ARN of a function, a file as in file:NAME, or a URL of HTTP.`,
  );
}
