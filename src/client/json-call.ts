/** Runs in the commands of people. One request to a controller in AWS's JSON protocol. */
import { z } from 'zod';
import { ClientError } from './client-error.ts';
import { exchange, jsonOf } from './http.ts';
import type { ClientOptions } from './lambda-client.ts';

const errorSchema = z.object({ __type: z.string(), message: z.string().optional() });
const PATIENCE_MS = 60_000;

/**
 * @param target API and operation, such as "Logs_20140328.FilterLogEvents".
 * @throws ClientError
 */
export async function jsonCall<T>(
  { endpoint, token, signal }: ClientOptions,
  target: string,
  members: object,
  schema: z.ZodType<T>,
): Promise<T> {
  const content = Buffer.from(JSON.stringify(members));
  const { status, body } = await exchange({
    method: 'POST',
    url: new URL('/', endpoint),
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': target,
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    },
    body: { bytes: content.length, content },
    patienceMs: PATIENCE_MS,
    signal,
  });
  const answer = jsonOf(body);
  const result = schema.safeParse(answer);
  if (status === 200 && result.success) return result.data;
  const error = errorSchema.safeParse(answer);
  if (status === 200 || !error.success) {
    throw new ClientError('bad_answer', `${endpoint.origin} answered ${status}: is it a controller?`);
  }
  const { __type, message = __type } = error.data;
  throw new ClientError('refused', message, { type: __type });
}
