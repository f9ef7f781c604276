/** Runs in the commands of people. What can go wrong with them, in words for whoever typed it. */

/**
 * ```
 *   bad_input         what was typed, or a file of the function: mend it
 *   refused           the controller's answer; `type` has its name there
 *   unreachable       there is no controller, or it does not go on
 *   bad_answer        whoever answered is no controller
 *   not_deployed      the new version cannot serve; the one before does
 *   still_deploying   it took longer than was waited for
 * ```
 */
export type ClientErrorCode =
  'bad_input' | 'refused' | 'unreachable' | 'bad_answer' | 'not_deployed' | 'still_deploying';

export class ClientError extends Error {
  override readonly name = 'ClientError';
  readonly code: ClientErrorCode;
  /** The controller's name for it, such as "ResourceNotFoundException"; null where it gave none. */
  readonly type: string | null;

  constructor(
    code: ClientErrorCode,
    message: string,
    options: { readonly type?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.type = options.type ?? null;
  }
}

/** @throws ClientError always: for what was typed. */
export function badInput(message: string, cause?: unknown): never {
  throw new ClientError('bad_input', message, { cause });
}
