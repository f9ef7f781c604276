/** Runs in the commands of people. Keys of `function.yaml` that are set beside the function, once it is deployed. */
import type { LambdaAccount } from '../protocol/arn.ts';
import { destinationOf, type EventsYaml } from '../yaml/events-key.ts';
import type { UrlYaml } from '../yaml/url-key.ts';
import type { FunctionUrl } from './answers.ts';
import { ClientError } from './client-error.ts';
import { deploySchedules, type SchedulesChange } from './deploy-schedules.ts';
import { SETTINGS_FILE, type FunctionSettings } from './function-settings.ts';
import type { LambdaClient, Members } from './lambda-client.ts';
import { setQualified } from './qualified-settings.ts';
import type { SchedulesClient } from './schedules-client.ts';

export type WrittenSettings = Pick<FunctionSettings, 'web' | 'url' | 'events' | 'schedules'>;

/** Null: nothing was written of it, so it stays as it is. */
export interface WrittenResult {
  readonly url: FunctionUrl | null;
  readonly schedules: SchedulesChange | null;
}

/**
 * A key that is written says all of it: what it leaves out is the default again. The URL and the events are those of the function
 * itself, as in the YAML files of a controller.
 *
 * @param arn of the function, in whose account those are that the key `events` names.
 * @throws ClientError; what was set before stays set.
 */
export async function applyWritten(
  { lambda, schedules }: { readonly lambda: LambdaClient; readonly schedules: SchedulesClient },
  functionName: string,
  arn: string,
  written: WrittenSettings,
): Promise<WrittenResult> {
  const place = { functionName, qualifier: undefined };
  const { events, url, schedules: all } = written;
  if (events !== undefined) {
    const members = eventMembers(events, arn);
    await atKey('events', setQualified(lambda, { kind: 'event-invoke-config', ...place, members }));
  }
  const members = url && urlMembers(url, written.web !== undefined);
  return {
    url: members === undefined ? null : await atKey('url', setQualified(lambda, { kind: 'url', ...place, members })),
    // Each of them may name an alias, which is there by now.
    schedules: all === undefined ? null : await atKey('schedules', deploySchedules(schedules, functionName, all)),
  };
}

/** What the controller refuses is told with the key that asked for it. */
async function atKey<T>(key: keyof WrittenSettings, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ClientError) || error.type === null) throw error;
    const { code, type, message } = error;
    throw new ClientError(code, `\`${key}\` of ${SETTINGS_FILE}: ${message}`, { type, cause: error });
  }
}

/** All of them, as an update leaves what it is not given. */
function urlMembers({ auth, invoke_mode: mode, cors }: UrlYaml, isWeb: boolean): Members {
  const streams = mode === 'response_stream' || (isWeb && mode !== 'buffered');
  const lists = {
    AllowCredentials: cors?.allow_credentials,
    AllowHeaders: cors?.allow_headers,
    AllowMethods: cors?.allow_methods,
    AllowOrigins: cors?.allow_origins,
    ExposeHeaders: cors?.expose_headers,
    MaxAge: cors?.max_age,
  };
  return {
    AuthType: auth === 'none' ? 'NONE' : 'AWS_IAM',
    InvokeMode: streams ? 'RESPONSE_STREAM' : 'BUFFERED',
    Cors: said(lists),
  };
}

function eventMembers(events: EventsYaml, arn: string): Members {
  const place = (text: string | null | undefined): Members | undefined =>
    text ? { Destination: destinationOf(text, accountOf(arn)) } : undefined;
  return said({
    MaximumRetryAttempts: events.retries,
    MaximumEventAgeInSeconds: events.max_age,
    DestinationConfig: said({ OnSuccess: place(events.on_success), OnFailure: place(events.on_failure) }),
  });
}

function said(members: Members): Members {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined && value !== null));
}

function accountOf(arn: string): LambdaAccount {
  const [, , , region = '', accountId = ''] = arn.split(':');
  return { region, accountId };
}
