/**
 * Runs in snapctr, and in the commands that read YAML. The key `events` of a function: how invocations that nobody waits for are
 * tried, and who is told of their end.
 */
import { z } from 'zod';
import { functionArn, type LambdaAccount } from '../protocol/arn.ts';
import { expected, wholeNumber } from './values.ts';

/** AWS's own bounds. */
const MAX_RETRIES = 2;
const MIN_AGE_S = 60;
const MAX_AGE_S = 21_600;

const place = expected('a function by its name, a file as in `file:NAME`, or a URL of HTTP');
/** A name, an ARN with an own qualifier or none, a file in the data directory, or an address. */
export const destination = z
  .string(place)
  .refine((text) => PLACES.some((pattern) => pattern.test(text)) && (!isUrl(text) || URL.canParse(text)), place);
const NAME = /^[a-zA-Z0-9_-]{1,64}$/;
const ARN = /^arn:aws:lambda:[a-z0-9-]+:\d{12}:function:[a-zA-Z0-9_-]{1,64}(:[a-zA-Z0-9$_-]{1,128})?$/;
const FILE = /^file:[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,99}$/;
const PLACES = [NAME, ARN, FILE, /^https?:\/\//];

export const eventsSchema = z.strictObject(
  {
    retries: wholeNumber(0, MAX_RETRIES, `a whole number of further tries from 0 to ${MAX_RETRIES}`).nullish(),
    max_age: wholeNumber(MIN_AGE_S, MAX_AGE_S, `a whole number of seconds from ${MIN_AGE_S} to ${MAX_AGE_S}`).nullish(),
    on_success: destination.nullish(),
    on_failure: destination.nullish(),
  },
  expected('a map with `retries`, `max_age`, `on_success` and `on_failure`'),
);
export type EventsYaml = z.infer<typeof eventsSchema>;

/** As the API has it: a function that is meant by its name by its ARN. */
export function destinationOf(text: string, account: LambdaAccount): string {
  return NAME.test(text) ? functionArn(account, text) : text;
}

function isUrl(text: string): boolean {
  return /^https?:\/\//.test(text);
}
