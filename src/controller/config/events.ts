/** Runs in snapctr. The key `events` of a function, as the registry has it. */
import type { LambdaAccount } from '../../protocol/arn.ts';
import type { EventInvokeRecord } from '../../registry/records.ts';
import { destinationOf, type EventsYaml } from '../../yaml/events-key.ts';

export type EventsSettings = Omit<EventInvokeRecord, 'modified'>;

export function eventsSettings(yaml: EventsYaml): EventsSettings {
  return Object.freeze({
    maximumRetryAttempts: yaml.retries ?? null,
    maximumEventAgeS: yaml.max_age ?? null,
    onSuccess: yaml.on_success ?? null,
    onFailure: yaml.on_failure ?? null,
  });
}

/** As the API has them: functions that are meant by their names by their ARNs. */
export function eventInvokeOf(settings: EventsSettings, account: LambdaAccount, modified: string): EventInvokeRecord {
  const { onSuccess, onFailure } = settings;
  const place = (text: string | null): string | null => (text === null ? null : destinationOf(text, account));
  return { ...settings, onSuccess: place(onSuccess), onFailure: place(onFailure), modified };
}
