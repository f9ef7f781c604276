/**
 * Runs in snapctr. Messages that failed as often as they may: their destination is told by an event of the journal, or they are dead
 * events, which can be tried again.
 */
import { functionArn, type LambdaAccount } from '../../protocol/arn.ts';
import type { FunctionEventSource } from '../../registry/function-registry.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import type { EventDispatcher } from '../events/dispatcher.ts';
import { newTaskId, type Outcome } from '../task.ts';

export interface FailedMessagesOptions {
  readonly events: Pick<EventDispatcher, 'acceptFailed'>;
  /** The version that answers now; null: none. */
  readonly versionOf: (name: string, qualifier: string | null) => FunctionVersion | null;
  readonly account: LambdaAccount;
}

export class FailedMessages {
  readonly #options: FailedMessagesOptions;

  constructor(options: FailedMessagesOptions) {
    this.#options = options;
  }

  /** Resolves when a crash does not lose it. @param event of the one message. @throws EventStoreError */
  async keep(
    { function: name, qualifier, onFailure }: FunctionEventSource,
    { id, payload }: { readonly id: string; readonly payload: Buffer },
    { tries, outcome }: { readonly tries: number; readonly outcome: Outcome },
  ): Promise<void> {
    const { account, events, versionOf } = this.#options;
    const version = outcome.version ?? versionOf(name, qualifier);
    const arn = functionArn(account, name) + (qualifier === null ? '' : `:${qualifier}`);
    // A batch may have several: as events they are requests of their own.
    const event = { id: onFailure === null ? newTaskId() : id, function: name, qualifier, payload, header: { arn } };
    await events.acceptFailed(event, { condition: 'RetriesExhausted', tries, outcome, version }, onFailure);
  }
}
