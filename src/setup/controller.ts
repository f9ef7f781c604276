/**
 * Runs in `npm start`, `npm test` and `npm run bench`. `npm start`: runs the controller with defaults for a first try.
 */
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { PROJECT_ROOT } from '../images/project.ts';
import { runNode } from './child.ts';
import { SMALLEST_VM_MIB } from '../protocol/vmms.ts';

const DEFAULT_CONFIG = join('resources', 'controller.yaml');
/** What is made over the API stays with the checkout. */
const DEFAULT_DATA = 'data';
const DEFAULT_PORT = '8080';
const DEFAULT_MEMORY_MB = 1024;

const CONFIG_FLAGS = ['--config', '-c'];
const MEMORY_FLAGS = ['--mem'];
const FILE_FLAGS = ['--requests_file', '--requests-file'];
const GATEWAY_FLAGS = ['--port', '-p', ...FILE_FLAGS];
const DATA_FLAGS = ['--data-dir', '--data_dir', ...FILE_FLAGS];
/** Whoever works on a function sees what becomes of it; a file of requests is soon over. */
const UNWATCHED_FLAGS = ['--watch', ...FILE_FLAGS];

/** Runs the controller until it ends; returns its exit status. */
export async function runController(args: readonly string[]): Promise<number> {
  const argv = controllerArguments(args, process.env['PORT'], totalmem());
  const ownConfig = hasFlag(args, CONFIG_FLAGS);
  return runNode([join('dist', 'bin', 'snapctr.js'), ...argv], {
    cwd: PROJECT_ROOT,
    onErrorLine(line) {
      const address = /listening on (http:\/\/[^\s"]+)/.exec(line)?.[1];
      if (address !== undefined) process.stderr.write(`${invitation(reachable(address), ownConfig)}\n`);
    },
  });
}

/**
 * The user's arguments and defaults for what they leave out.
 * @param totalBytes memory of the host, in bytes; on a small one the default is half of it.
 */
export function controllerArguments(
  args: readonly string[],
  port: string | undefined,
  totalBytes: number,
): readonly string[] {
  const halfMb = Math.floor(totalBytes / 2 / 1024 / 1024 / SMALLEST_VM_MIB) * SMALLEST_VM_MIB;
  const memoryMb = Math.max(SMALLEST_VM_MIB, Math.min(DEFAULT_MEMORY_MB, halfMb));
  const portOrDefault = port === undefined || port === '' ? DEFAULT_PORT : port;
  return [
    ...(hasFlag(args, CONFIG_FLAGS) ? [] : ['--config', DEFAULT_CONFIG]),
    ...(hasFlag(args, MEMORY_FLAGS) ? [] : ['--mem', String(memoryMb)]),
    ...(hasFlag(args, GATEWAY_FLAGS) ? [] : ['--port', portOrDefault]),
    ...(hasFlag(args, DATA_FLAGS) ? [] : ['--data-dir', DEFAULT_DATA]),
    ...(hasFlag(args, UNWATCHED_FLAGS) ? [] : ['--watch']),
    ...args,
  ];
}

/** Whether one of the flags is given, as `--flag value`, `--flag=value` or `-fvalue`. */
function hasFlag(args: readonly string[], flags: readonly string[]): boolean {
  return args.some((arg) =>
    flags.some((flag) => arg === flag || arg.startsWith(`${flag}=`) || (/^-[a-z]$/.test(flag) && arg.startsWith(flag))),
  );
}

/** A server that listens on all addresses is not reachable under "all addresses" everywhere. */
function reachable(address: string): string {
  return address.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:').replace(/\/$/, '');
}

function invitation(address: string, ownConfig: boolean): string {
  if (ownConfig) return `\nSee what runs:\n\n  curl -s ${address}/status\n`;
  const request = '{"function":"hello-python","payload":{"name":"world"}}';
  return `\nTry it:\n\n  curl -s ${address}/ -H 'content-type: application/json' -d '${request}'\n`;
}
