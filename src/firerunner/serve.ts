/**
 * Runs in firerunner. The front door for snapctr: launch commands come in as JSON lines on stdin, events leave as JSON
 * lines on stdout (`protocol/runner.ts`). End of stdin means snapctr is gone, whatever it died of.
 */
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { RunnerCommand, RunnerEvent } from '../protocol/runner.ts';
import { launchFailure, launchVm, type RunningVm } from './launch.ts';
import type { RunDirectory } from './run-directory.ts';
import type { VmmChoice } from './vmm-choice.ts';

interface ServedVm {
  /** Ends the launch if it is still under way. */
  readonly launching: AbortController;
  running: RunningVm | null;
}

/** Serves until stdin ends; then every VM is killed, its directory removed, and the promise resolves. */
export async function serve(
  choice: VmmChoice,
  directory: RunDirectory,
  streams: { stdin: Readable; stdout: Writable },
): Promise<void> {
  const { driver } = choice;
  const vms = new Map<string, ServedVm>();
  const ends = new Set<Promise<void>>();
  const emit = (event: RunnerEvent): void => {
    streams.stdout.write(`${JSON.stringify(event)}\n`);
  };
  // Without a reader there is nobody to tell; the end of stdin follows.
  streams.stdout.on('error', () => undefined);

  const launch = async (vm: string, spec: Extract<RunnerCommand, { op: 'launch' }>['spec']): Promise<void> => {
    const served: ServedVm = { launching: new AbortController(), running: null };
    vms.set(vm, served);
    try {
      const observer = {
        onChannel: (guestAddress: string): void => emit({ event: 'channel', vm, guestAddress }),
        onLog: (header: { request: number; stream: 'stdout' | 'stderr' }, text: string): void =>
          emit({ event: 'log', vm, text, ...header }),
        onRuntimeExited: (reason: string): void => {
          if (served.running !== null) emit({ event: 'runtime-exited', vm, reason });
        },
      };
      const running = await launchVm(driver, spec, directory.create(vm), observer, served.launching.signal);
      served.running = running;
      emit({ event: 'ready', vm, timings: running.timings });
      const exit = await running.exited;
      directory.remove(vm);
      emit({ event: 'exited', vm, reason: exit.reason });
    } catch (error) {
      directory.remove(vm);
      emit({ event: 'failed', vm, failure: launchFailure(error) });
    } finally {
      vms.delete(vm);
    }
  };

  const kill = (served: ServedVm): void => {
    if (served.running === null) served.launching.abort(new Error('the launch was called off'));
    else void served.running.kill();
  };

  emit({ event: 'serving', vmm: driver.name, reason: choice.reason, notice: driver.notice });
  for await (const line of createInterface({ input: streams.stdin })) {
    const command = parseCommand(line);
    // Only a snapctr that died while it wrote leaves half a line behind.
    if (command === null) break;
    if (command.op === 'launch') {
      const end = launch(command.vm, command.spec).finally(() => ends.delete(end));
      ends.add(end);
    } else {
      const served = vms.get(command.vm);
      if (served !== undefined) kill(served);
    }
  }
  for (const served of vms.values()) kill(served);
  await Promise.all(ends);
}

function parseCommand(line: string): RunnerCommand | null {
  try {
    return JSON.parse(line) as RunnerCommand;
  } catch {
    return null;
  }
}
