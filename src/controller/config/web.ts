/** Runs in snapctr. The key `web` of a function: it is an application that listens on a port. */
import { z } from 'zod';
import { isWebPort, WEB_PORTS, webPortOf } from '../../protocol/web.ts';
import type { WebConfig } from '../../registry/function-version.ts';
import { expected } from '../../yaml/values.ts';

export const webSchema = z.strictObject(
  {
    port: z.number(expected(WEB_PORTS)).refine(isWebPort, expected(WEB_PORTS)),
    max_concurrency: z
      .literal(1, {
        error: 'must be 1: a VM has one request at a time; `concurrency_limit` says how many VMs there may be',
      })
      .nullish(),
  },
  expected('a map with `port`'),
);

/**
 * @param yaml null: the environment may say it.
 * @returns null: the function has a handler, or asks for its events itself.
 */
export function webConfig(
  yaml: z.infer<typeof webSchema> | null,
  environment: Readonly<Record<string, string>>,
): WebConfig | null {
  const port = yaml?.port ?? webPortOf(environment);
  return port === null ? null : Object.freeze({ port });
}
