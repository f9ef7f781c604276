/** Runs in the commands of people. What a controller says of its memory, by `/status`. */
import { z } from 'zod';
import { ClientError } from './client-error.ts';
import { exchange, jsonOf } from './http.ts';
import type { ClientOptions } from './lambda-client.ts';

const PATIENCE_MS = 10_000;

const statusSchema = z.object({ memory: z.object({ reserved_mib: z.number(), idle_mib: z.number() }) });

/** Of all VMs, in MiB: what they have, and what those of it have that are idle. */
export interface VmMemory {
  readonly reservedMib: number;
  readonly idleMib: number;
}

/** @throws ClientError; the signal's reason. */
export async function vmMemory({ endpoint, token, signal }: ClientOptions): Promise<VmMemory> {
  const { status, body } = await exchange({
    method: 'GET',
    url: new URL('/status', endpoint),
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    patienceMs: PATIENCE_MS,
    signal,
  });
  if (status === 401 || status === 403) {
    throw new ClientError('refused', 'the controller wants a key that may read its status');
  }
  const answer = statusSchema.safeParse(jsonOf(body));
  if (!answer.success) {
    throw new ClientError('bad_answer', `${endpoint.origin} answered ${status}: is it a controller?`);
  }
  const { reserved_mib, idle_mib } = answer.data.memory;
  return { reservedMib: reserved_mib, idleMib: idle_mib };
}
