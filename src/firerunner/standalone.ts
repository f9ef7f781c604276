/**
 * Runs in firerunner. The front door for a person: one VM, requests as JSON lines on stdin, results as JSON lines on
 * stdout in the same order, everything else on stderr. The VM ends with stdin.
 */
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { SnapfaasError } from '../protocol/errors.ts';
import { FunctionChannel } from '../protocol/function-channel.ts';
import { MAX_PAYLOAD_BYTES, type RuntimeExitHeader } from '../protocol/guest.ts';
import { functionError, Invoker, vmLost } from '../protocol/invoker.ts';
import { parseRequest } from '../protocol/request.ts';
import type { GuestAddress, LaunchSpec } from '../protocol/runner.ts';
import type { Driver } from './machine.ts';
import { EXIT_CODES, type ExitCode } from './exit-codes.ts';
import { FunctionLoadError } from './guest/guest-life.ts';
import { launchFailure, launchVm, type RunningVm } from './launch.ts';
import type { TapPool } from './network/tap-pool.ts';
import type { RunDirectory } from './run-directory.ts';
import { Snapshots } from './snapshots/snapshots.ts';

export interface StandaloneOptions {
  readonly driver: Driver;
  readonly directory: RunDirectory;
  /** Name of the VM, also of its directory. */
  readonly id: string;
  readonly spec: LaunchSpec;
  /** The VM's tap; null: it has no network. */
  readonly taps: TapPool | null;
  /** Time for each invocation, in ms. */
  readonly timeoutMs: number;
  readonly streams: { readonly stdin: Readable; readonly stdout: Writable; readonly stderr: Writable };
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

/** Runs one VM from launch to the end of stdin; nothing is left of it afterwards. */
export async function runStandalone(options: StandaloneOptions): Promise<ExitCode> {
  const { driver, directory, id, spec, taps, streams, signal } = options;
  const say = (text: string): void => {
    streams.stderr.write(`firerunner: ${text}\n`);
  };
  let invoker: Invoker | null = null;
  const dialled: Promise<FunctionChannel>[] = [];
  const observer = {
    onChannel: (guestAddress: GuestAddress): void => {
      const channel = FunctionChannel.connect(guestAddress);
      channel.catch(() => undefined);
      dialled.push(channel);
    },
    onLog: (_header: unknown, text: string) => written(streams.stderr, text),
    onRuntimeExited: (reason: string, exit: RuntimeExitHeader): void => {
      invoker?.runtimeEnded(reason, exit);
    },
  };
  let vm: RunningVm;
  const snapshots = new Snapshots(driver, directory, taps, signal);
  try {
    if (spec.snapshots !== null) await snapshots.prepare(spec);
    const from = (await snapshots.forLaunch(spec)).snapshot?.restorable.guest ?? null;
    vm = await launchVm({ driver, spec, from, directory: await directory.create(id), taps, observer, signal });
  } catch (error) {
    await directory.remove(id);
    if (signal.aborted) return EXIT_CODES.interrupted;
    for (const line of describeFailure(error)) say(line);
    return error instanceof FunctionLoadError ? EXIT_CODES.load_failed : EXIT_CODES.launch_failed;
  }
  const { kind, spawnMs, bootMs, loadMs, resumeMs } = vm.timings;
  const parts = { spawn: spawnMs, boot: bootMs, load: loadMs, resume: resumeMs };
  const took = Object.entries(parts).map(([part, ms]) => `${part} ${ms.toFixed(0)} ms`);
  say(`VM ${id} is ready (${kind}): ${took.join(', ')}`);
  try {
    const [channel] = await Promise.all(dialled);
    if (channel === undefined) throw new Error('the driver named no function channel');
    const current = new Invoker(channel, spec.function.name, options.timeoutMs);
    invoker = current;
    void vm.exited.then((exit) => current.interrupt(vmLost(spec.function.name, exit.reason)));
    return await answerLines(options, current);
  } finally {
    await vm.kill();
    await directory.remove(id);
    await snapshots.close();
  }
}

/** Makes a snapshot layer by hand: loads the function, if there is one, and keeps the VM as it is then. */
export async function dumpStandalone(
  options: Pick<StandaloneOptions, 'driver' | 'directory' | 'spec' | 'taps' | 'streams' | 'signal'>,
  target: string,
): Promise<ExitCode> {
  const { driver, directory, spec, taps, streams, signal } = options;
  const say = (text: string): void => {
    streams.stderr.write(`firerunner: ${text}\n`);
  };
  const snapshots = new Snapshots(driver, directory, taps, signal);
  try {
    const layer = await snapshots.dump(spec, target, {
      onProgress: say,
      onLog: (_header, text) => written(streams.stderr, text),
    });
    const mib = (layer.parts.pages.bytes / 1024 / 1024).toFixed(1);
    say(
      `${target} holds a ${layer.kind} layer: ${mib} MiB of memory, ${layer.parts.state.bytes} bytes of device state`,
    );
    return EXIT_CODES.ok;
  } catch (error) {
    if (signal.aborted) return EXIT_CODES.interrupted;
    for (const line of describeFailure(error)) say(line);
    return error instanceof FunctionLoadError ? EXIT_CODES.load_failed : EXIT_CODES.launch_failed;
  }
}

/** Answers every line of stdin, until one leaves the VM unusable. */
async function answerLines(options: StandaloneOptions, invoker: Invoker): Promise<ExitCode> {
  const { streams, signal, id, spec } = options;
  const lines = createInterface({ input: streams.stdin, crlfDelay: Infinity });
  signal.addEventListener('abort', () => lines.close(), { once: true });
  const reader = new AbortController();
  streams.stdout.on('error', (error) => {
    reader.abort(error);
    lines.close();
  });
  let exitCode: ExitCode = EXIT_CODES.ok;
  let number = 0;
  for await (const line of lines) {
    number += 1;
    try {
      const request = parseRequest(Buffer.from(line), {
        maxPayloadBytes: MAX_PAYLOAD_BYTES,
        defaultFunction: spec.function.name,
      });
      const { result } = await invoker.invoke(`${id}-${number}`, request.payload, signal);
      await writeLine(streams.stdout, result);
    } catch (reason) {
      if (signal.aborted) break;
      const error = SnapfaasError.from(reason);
      exitCode = error.code === 'vm_lost' ? EXIT_CODES.vm_lost : EXIT_CODES.request_failed;
      await writeLine(streams.stdout, Buffer.from(JSON.stringify(error.toBody())));
      if (!invoker.isReusable) break;
    }
    if (reader.signal.aborted) break;
  }
  lines.close();
  return signal.aborted || reader.signal.aborted ? EXIT_CODES.interrupted : exitCode;
}

function writeLine(stream: Writable, line: Buffer): Promise<void> {
  return written(stream, Buffer.concat([line, Buffer.from('\n')]));
}

/** Resolves when the bytes have left, or cannot: a stream that fails says so by its event. */
function written(stream: Writable, bytes: Buffer | string): Promise<void> {
  return new Promise((resolve) => {
    stream.write(bytes, () => resolve());
  });
}

function describeFailure(error: unknown): readonly string[] {
  const failure = launchFailure(error);
  if (failure.kind === 'vmm') {
    return [failure.message, ...failure.console.map((line) => `console: ${line}`)];
  }
  const { message, details } = functionError(failure.failure);
  return [`the function does not load: ${failure.failure.type}: ${message}`, ...((details['stack'] ?? []) as string[])];
}
