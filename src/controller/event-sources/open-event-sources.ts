/** Runs in snapctr. The gateway of event sources, with what it is wired to. */
import type { LambdaAccount } from '../../protocol/arn.ts';
import type { FunctionRegistry } from '../../registry/function-registry.ts';
import type { NatsSettings } from '../config/nats.ts';
import type { EventDispatcher } from '../events/dispatcher.ts';
import { batchLimitOf, versionOf } from '../events/open-events.ts';
import type { SubmitTask } from '../gateway/gateway.ts';
import type { Logger } from '../log.ts';
import { EventSources } from './event-sources.ts';
import { FailedMessages } from './failed-messages.ts';
import { NatsClient } from './nats-client.ts';
import { readCredentials } from './nats-credentials.ts';

export interface OpenEventSourcesOptions {
  readonly settings: NatsSettings;
  readonly events: EventDispatcher;
  readonly registry: FunctionRegistry;
  readonly submit: SubmitTask;
  /** VMs of the smallest function that the host has memory for. */
  readonly maxConcurrency: number;
  readonly maxPayloadBytes: number;
  readonly account: LambdaAccount;
  readonly logger: Logger;
}

/** Nothing is connected yet. @throws CredentialsError */
export async function openEventSources(options: OpenEventSourcesOptions): Promise<EventSources> {
  const { settings, events, registry, submit, maxConcurrency, maxPayloadBytes, account, logger } = options;
  // A slip is told at the start; they are read again for each connection.
  if (settings.credentialsPath !== null) await readCredentials(settings.credentialsPath);
  const sources: EventSources = new EventSources({
    client: new NatsClient(settings, () => sources.onConnected(), logger),
    submit,
    limitOf: (name) => batchLimitOf(registry, name, maxConcurrency),
    failed: new FailedMessages({
      events,
      versionOf: (name, qualifier) => versionOf(registry, name, qualifier),
      account,
    }),
    maxEventBytes: maxPayloadBytes,
    registry,
    account,
    logger,
  });
  return sources;
}
