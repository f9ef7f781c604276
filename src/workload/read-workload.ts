/** Runs in `snapctr simulate`. The requests and functions of a directory, as `workload-directory.ts` writes it. */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readLines } from '../controller/gateway/file-lines.ts';
import { MAX_PAYLOAD_BYTES } from '../protocol/guest.ts';
import { messageOf, SnapfaasError } from '../protocol/errors.ts';
import { parseRequest } from '../protocol/request.ts';
import { SMALLEST_VM_MIB } from '../protocol/vmms.ts';
import { parseYaml } from '../yaml/parse.ts';
import { MAX_ARRIVALS, type Arrival, type Trace } from './trace.ts';

/** The workload cannot be used; the message says where, and what is expected. */
export class WorkloadError extends Error {
  override readonly name = 'WorkloadError';
}

const functionsSchema = z.array(
  z.object({
    name: z.string().min(1),
    memory: z.number().int().min(SMALLEST_VM_MIB).default(SMALLEST_VM_MIB),
  }),
);
const payloadSchema = z.object({ run_ms: z.number().min(0).max(3_600_000) });

/**
 * @param defaultRunMs of requests whose payload has no `run_ms`, in ms.
 * @throws WorkloadError
 */
export async function readWorkload(directory: string, defaultRunMs: number): Promise<Trace> {
  const functions = await readFunctions(join(directory, 'functions.yaml'));
  const known = new Set(functions.map(({ name }) => name));
  const file = join(directory, 'requests.json');
  const arrivals: Arrival[] = [];
  let lastMs = 0;
  const input = createReadStream(file);
  try {
    for await (const { number, bytes } of readLines(input, MAX_PAYLOAD_BYTES)) {
      const problem = (what: string): WorkloadError => new WorkloadError(`${file}, line ${number}: ${what}`);
      if (bytes === null) throw problem(`it is longer than ${MAX_PAYLOAD_BYTES} bytes`);
      if (arrivals.length >= MAX_ARRIVALS) throw problem(`there are more than ${MAX_ARRIVALS} requests`);
      const arrival = arrivalOf(bytes, defaultRunMs, problem);
      if (!known.has(arrival.function)) throw problem(`there is no function ${arrival.function} in functions.yaml`);
      if (arrival.timeMs < lastMs) throw problem('its time is before that of the line above');
      lastMs = arrival.timeMs;
      arrivals.push(arrival);
    }
  } catch (error) {
    if (error instanceof WorkloadError) throw error;
    throw new WorkloadError(`${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  return { functions: functions.map(({ name, memory }) => ({ name, memoryMib: memory, trigger: null })), arrivals };
}

async function readFunctions(file: string): Promise<z.infer<typeof functionsSchema>> {
  let content: unknown;
  try {
    content = parseYaml(await readFile(file, 'utf8'));
  } catch (error) {
    throw new WorkloadError(`${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  const functions = functionsSchema.safeParse(content);
  if (functions.success) return functions.data;
  const [issue] = functions.error.issues;
  throw new WorkloadError(
    `${file}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'a list of functions is expected'}`,
  );
}

function arrivalOf(bytes: Buffer, defaultRunMs: number, problem: (what: string) => WorkloadError): Arrival {
  try {
    const { function: name, time, payload } = parseRequest(bytes, { maxPayloadBytes: MAX_PAYLOAD_BYTES });
    if (time === null) throw problem('it has no "time"');
    const told = payloadSchema.safeParse(JSON.parse(payload.toString('utf8')));
    return { timeMs: time, function: name, userId: 0, runMs: told.success ? told.data.run_ms : defaultRunMs };
  } catch (error) {
    if (error instanceof SnapfaasError) throw problem(error.message);
    throw error;
  }
}
