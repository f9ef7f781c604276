/** Runs in each program. Functions that are applications which listen on a port. */
import { RUNTIMES, type RuntimeName } from './runtimes.ts';

/** By it AWS Lambda Web Adapter is told on which port an application listens; a function that sets it is one here as well. */
export const WEB_PORT_VARIABLE = 'AWS_LWA_PORT';
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

/** What an environment says of a port, as for AWS Lambda Web Adapter; null: nothing that could be meant. */
export function webPortOf(environment: Readonly<Record<string, string>>): number | null {
  const port = Number(environment[WEB_PORT_VARIABLE] ?? NaN);
  return isWebPort(port) ? port : null;
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
