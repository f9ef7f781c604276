/** The context that handlers of Lambda's style get as their last argument but the callback. */
import type { InvokeHeader, LoadRequest } from './protocol.cjs';

/** What is the same in all invocations of a VM. */
export interface FunctionFacts {
  readonly members: {
    readonly functionVersion: string;
    readonly functionName: string;
    readonly memoryLimitInMB: string;
    readonly logGroupName: string;
    readonly logStreamName: string;
  };
  /** For invocations that name none. */
  readonly arn: string;
}

/** The older way to answer: what the context of handlers that do not stream has on top. */
export interface Completion {
  callbackWaitsForEmptyEventLoop: boolean;
  readonly succeed: (result?: unknown) => void;
  readonly fail: (error?: unknown) => void;
  readonly done: (error?: unknown, result?: unknown) => void;
}

export function factsOf(request: LoadRequest, logStreamName: string): FunctionFacts {
  const members = {
    functionVersion: request.version,
    functionName: request.function,
    memoryLimitInMB: String(request.memory_mib),
    logGroupName: request.log_group,
    logStreamName,
  };
  return { members, arn: request.arn };
}

/**
 * Completes `base` to a context. Its members are in the order of Lambda's own, and own members all of them: handlers copy
 * contexts, and take functions out of them.
 *
 * @throws SyntaxError if the client's context is no JSON.
 */
export function addContext<Base extends object>(base: Base, facts: FunctionFacts, header: InvokeHeader): Base {
  const deadlineMs = header.deadline_ms ?? 0;
  return Object.assign(base, facts.members, {
    clientContext: parsed(header.client_context),
    identity: parsed(header.cognito_identity),
    invokedFunctionArn: header.arn ?? facts.arn,
    awsRequestId: header.id,
    tenantId: header.tenant_id,
    getRemainingTimeInMillis: () => Math.max(0, Math.floor(deadlineMs - Date.now())),
  });
}

function parsed(text: string | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text);
}
