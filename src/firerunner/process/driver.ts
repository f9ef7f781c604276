/**
 * Runs in firerunner. No VMM at all: the guest's runtime as a plain child process, for tests and for developing on any
 * system. It isolates nothing. What init does inside a VM is done here by `HostInit`.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../protocol/errors.ts';
import type { MachineSpec } from '../../protocol/runner.ts';
import { needsVms, RUNTIMES, type RuntimeName } from '../../protocol/runtimes.ts';
import { HostInit } from './host-init.ts';
import { ConsoleTail, startVmmProcess } from '../programs/vmm-process.ts';
import { LaunchError, type Driver, type Machine, type Surroundings } from '../machine.ts';

const PROJECT_ROOT = new URL('../../../', import.meta.url);

/** How a runtime is started on the host. */
function runtimeCommand(runtime: RuntimeName | null): readonly [command: string, ...args: string[]] {
  if (runtime === null) throw new LaunchError('the language of the function is not known; name its runtime');
  const { host } = RUNTIMES[runtime];
  if (host === null) throw new LaunchError(needsVms(runtime));
  const { interpreter, program } = host;
  const path = fileURLToPath(new URL(program, PROJECT_ROOT));
  if (interpreter === null && !existsSync(path)) {
    throw new LaunchError(`${path} is not there; \`npm start\` and \`npm test\` make it, with gcc on Linux`);
  }
  return interpreter === null ? [path] : [interpreter, path];
}

/** The environment a guest has, not the one of this process: nothing of the host's leaks into a function. */
function runtimeEnvironment(spec: MachineSpec): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    HOME: '/tmp',
    TMPDIR: '/tmp',
    LANG: 'C.UTF-8',
    // The function's files are read-only in a VM; here they are shared by all processes of the function.
    PYTHONDONTWRITEBYTECODE: '1',
  };
  if (spec.appfsPath !== null) {
    // Nothing can be laid over the host's own /opt.
    const layers = join(spec.appfsPath, '.snapfaas', 'root', 'opt');
    environment['LD_LIBRARY_PATH'] = `${join(spec.appfsPath, 'lib')}:${join(layers, 'lib')}`;
    environment['PATH'] = `${environment['PATH'] ?? ''}:${join(layers, 'bin')}`;
  }
  return environment;
}

export function processDriver(): Driver {
  return {
    name: 'process',
    notice: 'the process driver isolates nothing: functions run as plain processes of this user',
    snapshots: null,
    close: () => Promise.resolve(),
    async boot(spec, { directory, onChannel, signal }) {
      signal.throwIfAborted();
      const [command, ...args] = runtimeCommand(spec.runtime);
      const functionChannel = await acceptOne(join(directory, 'function.sock'), onChannel, signal);
      // The directory is there for `ps`, to tell one VM's process from another's.
      const vmm = await startVmmProcess(command, [...args, directory], {
        // 3 is the function channel, 4 the channel to init: the same numbers as in a VM.
        stdio: ['ignore', 'pipe', 'pipe', functionChannel, 'pipe'],
        cwd: spec.appfsPath ?? '/',
        env: runtimeEnvironment(spec),
      }).finally(() => functionChannel.destroy());
      const tail = new ConsoleTail();
      tail.watch(vmm.child.stderr);
      const init = new HostInit(vmm.child, channelToInit(vmm.child), vmm.exited);
      return {
        control: init,
        spawnedAt: performance.now(),
        get pid() {
          const { exitCode, signalCode, pid } = vmm.child;
          return exitCode === null && signalCode === null ? (pid ?? null) : null;
        },
        exited: init.ended,
        consoleTail: () => tail.lines(),
        pause: () => undefined,
        resume: () => undefined,
        snapshot: () => Promise.reject(new LaunchError('the process driver has no snapshots')),
        async kill() {
          await vmm.kill();
          return init.ended;
        },
      } satisfies Machine;
    },
  };
}

function channelToInit(child: ChildProcess): Duplex {
  const end = child.stdio[4];
  if (end === null || end === undefined || !('write' in end) || !('read' in end)) {
    throw new LaunchError("the runtime's channel to init was not opened");
  }
  return end as Duplex;
}

/**
 * Opens a unix socket and waits for the one connection to it, which becomes the runtime's: like that the bytes of a
 * request go straight from snapctr to the runtime and not through this process.
 */
async function acceptOne(path: string, onListening: Surroundings['onChannel'], signal: AbortSignal): Promise<Socket> {
  const server = createServer({ pauseOnConnect: true });
  try {
    server.listen(path);
    await once(server, 'listening', { signal });
    const accepted = once(server, 'connection', { signal }) as Promise<[Socket]>;
    onListening({ socketPath: path, vsockPort: null });
    const [socket] = await accepted;
    makeBlocking(socket);
    return socket;
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    const why = messageOf(cause);
    throw new LaunchError(`the function channel could not be opened: ${why}`, { cause });
  } finally {
    server.close();
  }
}

/**
 * Runtimes wait in blocking reads, and whether a socket blocks is a property it keeps in the child. Node has no public
 * way to set it; without it the runtimes still work, by asking again and again.
 */
function makeBlocking(socket: Socket): void {
  const { _handle: handle } = socket as Socket & { _handle?: { setBlocking?: (blocking: boolean) => number } };
  handle?.setBlocking?.(true);
}
