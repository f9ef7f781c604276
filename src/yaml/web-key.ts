/** Runs in snapctr, and in the commands that read YAML. The key `web` of a function: it is an application that listens on a port. */
import { z } from 'zod';
import { isWebConcurrency, isWebPort, WEB_CONCURRENCIES, WEB_PORTS } from '../protocol/web.ts';
import { expected } from './values.ts';

export const webSchema = z.strictObject(
  {
    port: z.number(expected(WEB_PORTS)).refine(isWebPort, expected(WEB_PORTS)),
    max_concurrency: z
      .number(expected(WEB_CONCURRENCIES))
      .refine(isWebConcurrency, expected(WEB_CONCURRENCIES))
      .nullish(),
  },
  expected('a map with `port`'),
);

export type WebYaml = z.infer<typeof webSchema>;
