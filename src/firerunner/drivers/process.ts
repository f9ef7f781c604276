/**
 * Runs in firerunner. No VMM at all: the guest's runtime as a plain child process, for tests and for developing on any
 * system. It isolates nothing. What init does inside a VM is done here by `HostInit`.
 */
import type { ChildProcess } from 'node:child_process';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { MachineSpec, RuntimeName } from '../../protocol/runner.ts';
import { HostInit } from '../host-init.ts';
import { OutputTail, startVmmProcess } from '../vmm-process.ts';
import { LaunchError, type Driver, type Machine } from './driver.ts';

const PROJECT_ROOT = new URL('../../../', import.meta.url);

/** How each runtime is started on the host. */
function runtimeCommand(runtime: RuntimeName): readonly [command: string, ...args: string[]] {
  switch (runtime) {
    case 'python3':
      return ['python3', fileURLToPath(new URL('guest/runtimes/python/runtime.py', PROJECT_ROOT))];
    case 'nodejs':
      return [process.execPath, fileURLToPath(new URL('dist/guest/node/runtime.cjs', PROJECT_ROOT))];
  }
}

/** The environment a guest has, not the one of this process: nothing of the host's leaks into a function. */
function runtimeEnvironment(spec: MachineSpec): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = { PATH: process.env['PATH'], HOME: '/tmp', TMPDIR: '/tmp', LANG: 'C.UTF-8' };
  if (spec.appfsPath !== null) environment['LD_LIBRARY_PATH'] = join(spec.appfsPath, 'lib');
  return environment;
}

export function processDriver(): Driver {
  return {
    name: 'process',
    notice: 'the process driver isolates nothing: functions run as plain processes of this user',
    async boot(spec, directory, signal) {
      signal.throwIfAborted();
      const [command, ...args] = runtimeCommand(spec.runtime);
      const guestAddress = join(directory, 'function.sock');
      const listener = await listen(guestAddress);
      // The directory is there for `ps`, to tell one VM's process from another's.
      const vmm = await startVmmProcess(command, [...args, directory], {
        // 3 is the function channel, 4 the channel to init: the same numbers as in a VM.
        stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
        cwd: spec.appfsPath ?? '/',
        env: runtimeEnvironment(spec),
      }).catch((error: unknown) => {
        listener.close();
        throw error;
      });
      void vmm.exited.then(() => listener.close());
      relay(listener, stream(vmm.child, 3));
      const tail = new OutputTail();
      tail.watch(vmm.child.stderr);
      const init = new HostInit(vmm.child, stream(vmm.child, 4), vmm.exited);
      return {
        guestAddress,
        control: init,
        exited: init.ended,
        consoleTail: () => tail.lines(),
        async kill() {
          await vmm.kill();
          return init.ended;
        },
      } satisfies Machine;
    },
  };
}

function stream(child: ChildProcess, fd: 3 | 4): Duplex {
  const end = child.stdio[fd];
  if (end === null || end === undefined || !('write' in end) || !('read' in end)) {
    throw new LaunchError(`the runtime's channel ${fd} was not opened`);
  }
  return end as Duplex;
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true });
    server.once('error', (cause) => {
      reject(new LaunchError(`the function channel could not be opened: ${cause.message}`, { cause }));
    });
    server.listen(path, () => resolve(server));
  });
}

/**
 * Joins whoever dials the socket with the runtime's end of the function channel, one connection at a time, as a virtio
 * port does.
 */
function relay(listener: Server, channel: Duplex): void {
  let current: Socket | null = null;
  channel.on('error', () => current?.destroy());
  channel.on('close', () => current?.destroy());
  channel.on('data', (chunk: Buffer) => {
    if (current === null) return;
    if (!current.write(chunk)) {
      channel.pause();
      current.once('drain', () => channel.resume());
    }
  });
  listener.on('connection', (socket) => {
    current?.destroy();
    current = socket;
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      if (!channel.write(chunk)) {
        socket.pause();
        channel.once('drain', () => socket.resume());
      }
    });
    socket.on('close', () => {
      if (current !== socket) return;
      current = null;
      channel.resume();
    });
    socket.resume();
  });
}
