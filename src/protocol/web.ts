/** Runs in each program. Functions that are applications which listen on a port. */
import { RUNTIMES, type RuntimeName } from './runtimes.ts';

/** By it AWS Lambda Web Adapter is told on which port an application listens; a function that sets it is one here as well. */
export const WEB_PORT_VARIABLE = 'AWS_LWA_PORT';
/**
 * Our own, in the manner of that one: how many requests each VM gets at once. The platform of AWS tells its adapter that by a variable
 * which functions may not set.
 */
export const WEB_CONCURRENCY_VARIABLE = 'AWS_LWA_MAX_CONCURRENCY';
/** On the kernel's command line: init starts what serves applications on a port in place of the language's runtime. */
export const WEB_KERNEL_ARGUMENT = 'snapfaas.web';

const SMALLEST_PORT = 1024;
const LARGEST_PORT = 65_535;
/** The Runtime API has it in each VM. */
const TAKEN_PORT = 9001;
/** Behind "must be". */
export const WEB_PORTS = `a port from ${SMALLEST_PORT} to ${LARGEST_PORT}, but not ${TAKEN_PORT}`;

export function isWebPort(port: number): boolean {
  return Number.isInteger(port) && port >= SMALLEST_PORT && port <= LARGEST_PORT && port !== TAKEN_PORT;
}

/** Requests that one VM may get at once. */
const MOST_CONCURRENCY = 100;
/** Behind "must be". */
export const WEB_CONCURRENCIES = `a number of requests from 1 to ${MOST_CONCURRENCY}`;

export function isWebConcurrency(count: number): boolean {
  return Number.isInteger(count) && count >= 1 && count <= MOST_CONCURRENCY;
}

/** An application that listens on a port. */
export interface WebConfig {
  readonly port: number;
  /** Requests that each of its VMs gets at once. */
  readonly maxConcurrency: number;
}

/**
 * Whether a function is one: as its environment says, as for AWS Lambda Web Adapter, or as is said beside it, which goes first.
 *
 * @param said of a file.
 * @returns `web` null: it has a handler, or asks for its events itself. `problem` null: what the environment says can be meant.
 */
export function webOf(
  environment: Readonly<Record<string, string>>,
  said: { readonly port: number; readonly max_concurrency?: number | null | undefined } | null = null,
): { readonly web: WebConfig | null; readonly problem: string | null } {
  const told = Number(environment[WEB_PORT_VARIABLE] ?? NaN);
  const port = said?.port ?? (isWebPort(told) ? told : null);
  const text = environment[WEB_CONCURRENCY_VARIABLE];
  if (port === null) {
    const why = `${WEB_CONCURRENCY_VARIABLE} is for an application on a port, which ${WEB_PORT_VARIABLE} tells`;
    return { web: null, problem: text === undefined ? null : why };
  }
  const count = said?.max_concurrency ?? (text === undefined ? 1 : /^\d+$/.test(text) ? Number(text) : NaN);
  if (isWebConcurrency(count)) return { web: Object.freeze({ port, maxConcurrency: count }), problem: null };
  const why = `${WEB_CONCURRENCY_VARIABLE} must be ${WEB_CONCURRENCIES}, not ${JSON.stringify(text)}`;
  return { web: Object.freeze({ port, maxConcurrency: 1 }), problem: why };
}

/**
 * How an application on a port is started, in the function's directory: its handler names a file, or is a line for the shell.
 *
 * @param runtime null: the image's own, of which nothing is known.
 */
export function webCommand(runtime: RuntimeName | null, handler: string | null): readonly string[] {
  const { defaultFile, interpreter } = RUNTIMES[runtime ?? 'provided'].web;
  const file = handler ?? defaultFile;
  if (/\s/.test(file)) return ['/bin/sh', '-c', file];
  const isModule = runtime !== null && RUNTIMES[runtime].moduleEndings.some((ending) => file.endsWith(ending));
  return interpreter !== null && isModule ? [...interpreter, file] : [`./${file}`];
}
