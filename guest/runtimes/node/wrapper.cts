/**
 * AWS_LAMBDA_EXEC_WRAPPER: a program of the function's that is started in place of the runtime, with the runtime's command
 * as its arguments. It may change the environment and the command before it starts that. And variables of the function's that
 * Node reads only when it starts: it starts once more, without a wrapper.
 *
 * The runtime that is started is this one once more, in a fresh interpreter: it finds its channels where they were, and LOAD
 * in a file, since init has sent that already. Node cannot replace its own process with descriptors open: this one waits,
 * and ends as the other does.
 */
import fs = require('node:fs');
import os = require('node:os');
import path = require('node:path');
import { writeFully } from './channel.cjs';
import { CONTROL_FD, FUNCTION_FD, type LoadRequest } from './protocol.cjs';

const VARIABLE = 'AWS_LAMBDA_EXEC_WRAPPER';
const LOAD_FD_VARIABLE = '_SNAPFAAS_LOAD_FD';
const READ_AT_START = ['GLIBC_TUNABLES', 'LD_PRELOAD', 'MALLOC_ARENA_MAX', 'NODE_EXTRA_CA_CERTS', 'NODE_OPTIONS'];
/** The one option that is set for most functions can be had without another start, and the memory that it takes. */
const SOURCE_MAPS = '--enable-source-maps';
/** Behind the channels. */
const LOAD_FD = 5;
const CANNOT_START = 127;

/** LOAD as a wrapper's runtime finds it; null: this one was started by init. */
export function takeLoad(): LoadRequest | null {
  const fd = process.env[LOAD_FD_VARIABLE];
  if (fd === undefined) return null;
  Reflect.deleteProperty(process.env, LOAD_FD_VARIABLE);
  const request = JSON.parse(fs.readFileSync(Number(fd), 'utf8')) as LoadRequest;
  fs.closeSync(Number(fd));
  // The environment is the wrapper's now, and the handler is taken from there.
  return { ...request, is_wrapped: true, handler: process.env['_HANDLER'] ?? request.handler };
}

/**
 * Runs the wrapper if the function has one, or this runtime again if the function's environment asks for it, and ends with
 * that. The function's environment is set.
 */
export function startAgain(request: LoadRequest): void {
  if (request.is_wrapped === true) return;
  const wrapper = request.style === 'lambda' ? (request.environment[VARIABLE] ?? '') : '';
  if (wrapper === '' && !isReadAtStart(request.environment)) return;
  const [, runtime = ''] = process.argv;
  const command = [process.execPath, ...process.execArgv, runtime];
  const [program = '', ...args] = wrapper === '' ? command : [wrapper, ...command];
  // Here, so that others do not pay for it.
  const childProcess = require('node:child_process') as typeof import('node:child_process');
  const { error, status, signal } = childProcess.spawnSync(program, args, {
    cwd: request.root,
    env: { ...process.env, [LOAD_FD_VARIABLE]: String(LOAD_FD) },
    stdio: ['inherit', 'inherit', 'inherit', FUNCTION_FD, CONTROL_FD, openUnnamed(JSON.stringify(request))],
  });
  if (error !== undefined) {
    const what = wrapper === '' ? program : `${VARIABLE}: ${wrapper}`;
    writeFully(2, Buffer.from(`snapfaas: ${what} cannot be started: ${error.message}\n`));
    process.exit(CANNOT_START);
  }
  if (signal !== null) process.kill(process.pid, signal);
  process.exit(status ?? 1);
}

function isReadAtStart(environment: LoadRequest['environment']): boolean {
  const set = READ_AT_START.filter((name) => (environment[name] ?? '') !== '');
  if (set.join() !== 'NODE_OPTIONS' || environment['NODE_OPTIONS']?.trim() !== SOURCE_MAPS) return set.length > 0;
  process.setSourceMapsEnabled(true);
  return false;
}

/** A file to be read, without a name. */
function openUnnamed(text: string): number {
  const name = path.join(os.tmpdir(), `snapfaas-load-${process.pid}`);
  fs.writeFileSync(name, text, { flag: 'wx', mode: 0o600 });
  const fd = fs.openSync(name, 'r');
  fs.unlinkSync(name);
  return fd;
}
