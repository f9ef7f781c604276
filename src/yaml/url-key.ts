/** Runs in snapctr, and in the commands that read YAML. The key `url` of a function: its address over plain HTTP. */
import { z } from 'zod';
import { corsProblem, type CorsLists } from '../protocol/cors.ts';
import { expected, wholeNumber } from './values.ts';

/** The longest that browsers of AWS's clients may keep an answer, in seconds. */
const MAX_AGE_S = 86_400;
const MAX_VALUES = 100;

const LISTS = {
  allowOrigins: 'allow_origins',
  allowMethods: 'allow_methods',
  allowHeaders: 'allow_headers',
  exposeHeaders: 'expose_headers',
} as const satisfies Record<keyof CorsLists, string>;

function strings(words: string): z.ZodOptional<z.ZodNullable<z.ZodArray<z.ZodString>>> {
  const wanted = expected(words);
  return z.array(z.string(wanted), wanted).max(MAX_VALUES, wanted).nullish();
}

const corsSchema = z
  .strictObject(
    {
      allow_origins: strings('a list of origins, such as `https://example.com`, or of `"*"`'),
      allow_methods: strings('a list of methods, such as `GET`, or of `"*"`'),
      allow_headers: strings('a list of names of headers, or of `"*"`'),
      expose_headers: strings('a list of names of headers, or of `"*"`'),
      allow_credentials: z.boolean(expected('`true` or `false`')).nullish(),
      max_age: wholeNumber(0, MAX_AGE_S, `a whole number of seconds from 0 to ${MAX_AGE_S} (a day)`).nullish(),
    },
    expected('a map with `allow_origins` and the like'),
  )
  .superRefine((cors, context) => {
    const problem = corsProblem({
      allowOrigins: cors.allow_origins ?? null,
      allowMethods: cors.allow_methods ?? null,
      allowHeaders: cors.allow_headers ?? null,
      exposeHeaders: cors.expose_headers ?? null,
    });
    if (problem === null) return;
    const message = `has ${problem.value}, which is not valid: ${problem.message}`;
    context.addIssue({ code: 'custom', path: [LISTS[problem.list]], message });
  });

export const urlSchema = z.strictObject(
  {
    auth: z.enum(['none', 'aws_iam'], expected('`none` or `aws_iam`')),
    invoke_mode: z.enum(['buffered', 'response_stream'], expected('`buffered` or `response_stream`')).nullish(),
    cors: corsSchema.nullish(),
  },
  expected('a map with `auth`'),
);
export type UrlYaml = z.infer<typeof urlSchema>;
