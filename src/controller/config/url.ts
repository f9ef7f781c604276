/** Runs in snapctr. The key `url` of a function: its address over plain HTTP. */
import { z } from 'zod';
import type { CorsRecord, UrlRecord } from '../../registry/records.ts';
import { corsProblem } from '../gateway/urls/cors.ts';
import { expected, wholeNumber } from '../../yaml/values.ts';

/** The longest that browsers of AWS's clients may keep an answer, in seconds. */
const MAX_AGE_S = 86_400;
const MAX_VALUES = 100;

export type UrlSettings = Pick<UrlRecord, 'authType' | 'invokeMode' | 'cors'>;

function strings(words: string): z.ZodOptional<z.ZodNullable<z.ZodArray<z.ZodString>>> {
  const wanted = expected(words);
  return z.array(z.string(wanted), wanted).max(MAX_VALUES, wanted).nullish();
}

const corsSchema = z.strictObject(
  {
    allow_origins: strings('a list of origins, such as `https://example.com`, or of `"*"`'),
    allow_methods: strings('a list of methods, such as `GET`, or of `"*"`'),
    allow_headers: strings('a list of names of headers, or of `"*"`'),
    expose_headers: strings('a list of names of headers, or of `"*"`'),
    allow_credentials: z.boolean(expected('`true` or `false`')).nullish(),
    max_age: wholeNumber(0, MAX_AGE_S, `a whole number of seconds from 0 to ${MAX_AGE_S} (a day)`).nullish(),
  },
  expected('a map with `allow_origins` and the like'),
);

export const urlSchema = z.strictObject(
  {
    auth: z.enum(['none', 'aws_iam'], expected('`none` or `aws_iam`')),
    invoke_mode: z.enum(['buffered', 'response_stream'], expected('`buffered` or `response_stream`')).nullish(),
    cors: corsSchema.nullish(),
  },
  expected('a map with `auth`'),
);

/**
 * @param invokeMode where nothing is said of it.
 * @param complain is told of what could not stand in a header, or would never match.
 */
export function urlSettings(
  yaml: z.infer<typeof urlSchema>,
  invokeMode: UrlSettings['invokeMode'],
  complain: (message: string) => void,
): UrlSettings {
  const cors = yaml.cors === undefined || yaml.cors === null ? null : corsOf(yaml.cors);
  const problem = cors === null ? null : corsProblem(cors);
  if (problem !== null) complain(`\`cors\`: ${problem.value} is not valid: ${problem.message}`);
  return Object.freeze({
    authType: yaml.auth === 'none' ? 'NONE' : 'AWS_IAM',
    invokeMode: yaml.invoke_mode ? (yaml.invoke_mode === 'buffered' ? 'BUFFERED' : 'RESPONSE_STREAM') : invokeMode,
    cors,
  });
}

function corsOf(yaml: z.infer<typeof corsSchema>): CorsRecord {
  return {
    allowCredentials: yaml.allow_credentials ?? null,
    allowHeaders: yaml.allow_headers ?? null,
    allowMethods: yaml.allow_methods ?? null,
    allowOrigins: yaml.allow_origins ?? null,
    exposeHeaders: yaml.expose_headers ?? null,
    maxAgeS: yaml.max_age ?? null,
  };
}
