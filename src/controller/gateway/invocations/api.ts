/** Runs in snapctr. What `snapctr explain` asks: what is known of invocations that are over. An API of our own, in the protocol of the Logs API. */
import type { Caller } from '../../../auth/caller.ts';
import type { InvocationHistory } from '../../telemetry/invocation-history.ts';
import type { InvocationSummary } from '../../telemetry/invocation-summary.ts';
import type { Json, JsonApi } from '../json/api.ts';
import { JsonApiError, type Body } from '../json/body.ts';

/** In an answer. */
const MAX_INVOCATIONS = 1000;

export class InvocationsApi implements JsonApi {
  readonly name = 'SnapfaasInvocations';
  readonly service = 'lambda';
  readonly #history: Pick<InvocationHistory, 'find'>;

  constructor(history: Pick<InvocationHistory, 'find'>) {
    this.#history = history;
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- as other APIs answer
  async run(operation: string, body: Body, caller: Caller): Promise<Json> {
    switch (operation) {
      case 'GetInvocation':
        return this.#get(body, caller);
      case 'ListInvocations':
        return this.#list(body, caller);
      default:
        throw new JsonApiError('UnknownOperationException', `${operation} is not offered`);
    }
  }

  /** All tries of one request, the newest first. */
  #get(body: Body, caller: Caller): Json {
    const requestId = body.required('requestId');
    const invocations = this.#history.find({ requestId, limit: MAX_INVOCATIONS });
    for (const { function: name } of invocations) caller.authorize('snapfaas:GetInvocation', name);
    if (invocations.length > 0) return { invocations };
    caller.authorize('snapfaas:ListInvocations');
    const why =
      'it runs still, or it never came here, or its record is no longer kept: warm and fast ones go first, and all at a restart';
    throw new JsonApiError('ResourceNotFoundException', `nothing is known of a request with this id: ${why}`);
  }

  #list(body: Body, caller: Caller): Json {
    caller.authorize('snapfaas:ListInvocations');
    const name = body.string('functionName');
    const limit = body.integer('limit', 1, MAX_INVOCATIONS) ?? MAX_INVOCATIONS;
    const query = { ...(name === null ? {} : { function: name }), limit: Number.MAX_SAFE_INTEGER };
    const mayList = (one: InvocationSummary): boolean => caller.mayList(one.function);
    return { invocations: this.#history.find(query).filter(mayList).slice(0, limit) };
  }
}
