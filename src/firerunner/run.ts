/** Runs in firerunner. From flags to one of its two front doors. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DEFAULT_ACCOUNT, functionArn, LATEST } from '../protocol/arn.ts';
import { messageOf } from '../protocol/errors.ts';
import type { LaunchSpec, QemuAccelerator } from '../protocol/runner.ts';
import { RUNTIMES, type RuntimeName } from '../protocol/runtimes.ts';
import { capabilitiesOf, type VmmCapabilities, type VmmWish } from '../protocol/vmms.ts';
import { LaunchError } from './machine.ts';
import { EXIT_CODES, type ExitCode } from './exit-codes.ts';
import { tapOfFlags, TapFlagsError, type TapFlags } from './network/tap-flags.ts';
import { TapPool } from './network/tap-pool.ts';
import { originalFlagNotes, type OriginalFlag } from './original-flags.ts';
import { openRunDirectory, RunDirectoryError } from './run-directory.ts';
import { serve } from './serve.ts';
import { dumpStandalone, runStandalone } from './standalone.ts';
import { chooseVmm, type VmmChoice } from './vmm-choice.ts';
import { NO_SETTINGS } from '../protocol/vmm-settings.ts';
import { parseVmmSettings, VmmSettingsError } from './vmm-settings.ts';

/** The command line as commander hands it over. */
export interface FirerunnerFlags extends TapFlags, Partial<Record<OriginalFlag, unknown>> {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly rootfs?: string;
  readonly appfs?: string;
  readonly mem_size?: number;
  readonly vcpu_count?: number;
  readonly id: string;
  readonly kernel_args: string;
  readonly handler?: string;
  readonly runtime?: RuntimeName;
  readonly env?: readonly string[];
  /** Seconds. */
  readonly timeout: number;
  /** Seconds. */
  readonly bootTimeout: number;
  readonly vmm: VmmWish;
  readonly accel: 'auto' | QemuAccelerator;
  readonly load_from?: string;
  readonly dump_to?: string;
  readonly serve?: true;
  /** `VmmSettings` as JSON. */
  readonly vmmSettings?: string;
}

/** A problem the user can mend, with the exit code that stands for it. */
class FlagError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

export async function runFirerunner(flags: FirerunnerFlags): Promise<ExitCode> {
  try {
    for (const note of originalFlagNotes(flags)) say(note);
    const tap = tapOfFlags(flags);
    const spec = flags.serve === true ? null : launchSpec(flags, tap !== null);
    const kernelPath = flags.kernel === undefined ? null : resolve(flags.kernel);
    const guest = kernelPath === null ? null : { kernelPath, initrdPath: initrdBeside(kernelPath, flags.initrd) };
    const settings = flags.vmmSettings === undefined ? NO_SETTINGS : parseVmmSettings(flags.vmmSettings);
    const interrupted = new AbortController();
    const directory = await openRunDirectory();
    let choice: VmmChoice | null = null;
    try {
      choice = await chooseVmm({ vmm: flags.vmm, accelerator: flags.accel, settings, guest, directory, say });
      if (spec === null) {
        // snapctr decides when to end: by the end of stdin, which also comes when it dies.
        process.on('SIGINT', () => undefined).on('SIGTERM', () => undefined);
        await serve(choice, directory, settings.network === null ? null : TapPool.of(settings.network), process);
        return EXIT_CODES.ok;
      }
      const interrupt = (): void => interrupted.abort();
      process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
      say(choice.reason);
      if (choice.driver.notice !== null) say(choice.driver.notice);
      const options = {
        driver: choice.driver,
        directory,
        id: flags.id,
        spec,
        taps: tap === null ? null : new TapPool([tap]),
        streams: process,
        signal: interrupted.signal,
      };
      if (flags.dump_to !== undefined) return await dumpStandalone(options, resolve(flags.dump_to));
      return await runStandalone({ ...options, timeoutMs: flags.timeout * 1000 });
    } finally {
      await choice?.driver.close();
      directory.close();
    }
  } catch (error) {
    say(messageOf(error));
    if (error instanceof FlagError) return error.exitCode;
    if ([RunDirectoryError, TapFlagsError, VmmSettingsError].some((usage) => error instanceof usage))
      return EXIT_CODES.usage;
    if (error instanceof LaunchError) return EXIT_CODES.launch_failed;
    process.stderr.write(`${error instanceof Error ? (error.stack ?? '') : ''}\n`);
    return EXIT_CODES.internal;
  }
}

function say(text: string): void {
  process.stderr.write(`firerunner: ${text}\n`);
}

function launchSpec(flags: FirerunnerFlags, network: boolean): LaunchSpec {
  const { isolates, snapshots, appfs } = capabilitiesOf(flags.vmm);
  const missing = (name: string): never => {
    throw new FlagError(EXIT_CODES.usage, `--${name} is missing; see firerunner --help`);
  };
  if (!/^[A-Za-z0-9_-]{1,32}$/.test(flags.id)) {
    throw new FlagError(EXIT_CODES.usage, `--id ${JSON.stringify(flags.id)}: use 1 to 32 of A-Z a-z 0-9 _ -`);
  }
  for (const name of ['load_from', 'dump_to'] as const) {
    if (!snapshots && flags[name] !== undefined) {
      throw new FlagError(EXIT_CODES.usage, `--${name}: the process driver has no snapshots; leave it out`);
    }
  }
  if (!isolates && network) {
    throw new FlagError(EXIT_CODES.usage, "--tap_name: the process driver has the host's own network; leave it out");
  }
  if (flags.dump_to !== undefined && existsSync(flags.dump_to)) {
    throw new FlagError(EXIT_CODES.usage, `--dump_to: ${flags.dump_to} exists; name a directory that does not`);
  }
  if (flags.dump_to !== undefined && !isDirectory(dirname(resolve(flags.dump_to)))) {
    throw new FlagError(
      EXIT_CODES.usage,
      `--dump_to: ${dirname(resolve(flags.dump_to))} is no directory; make it first, or name another one`,
    );
  }
  const kernelPath = !isolates ? '' : readable('kernel', flags.kernel ?? missing('kernel'));
  return {
    machine: {
      memoryMib: flags.mem_size ?? missing('mem_size'),
      vcpus: flags.vcpu_count ?? missing('vcpu_count'),
      kernelPath,
      initrdPath: !isolates ? '' : readable('initrd', initrdBeside(kernelPath, flags.initrd)),
      rootfsPath: !isolates ? '' : readable('rootfs', flags.rootfs ?? missing('rootfs')),
      appfsPath: flags.appfs === undefined ? null : appfsPath(flags.appfs, appfs),
      kernelArgs: flags.kernel_args,
      runtime: flags.runtime ?? (isolates ? null : missing('runtime')),
      network,
    },
    function: {
      name: flags.id,
      version: LATEST,
      handler: flags.handler ?? (flags.runtime === undefined ? null : RUNTIMES[flags.runtime].defaultHandler),
      environment: parseEnvironment(flags.env ?? []),
      arn: functionArn(DEFAULT_ACCOUNT, flags.id),
    },
    bootTimeoutMs: flags.bootTimeout * 1000,
    snapshots:
      flags.load_from === undefined ? null : { kind: 'layers', directories: layerDirectories(flags.load_from) },
  };
}

function layerDirectories(paths: string): readonly string[] {
  const directories = paths.split(',').map((path) => path.trim());
  return directories.map((path) => {
    const absolute = readable('load_from', path, 'firerunner --dump_to makes layers');
    if (isDirectory(absolute)) return absolute;
    throw new FlagError(EXIT_CODES.usage, `--load_from: ${absolute} is no directory; make a layer with --dump_to`);
  });
}

/** VMs mount an image, the process driver enters a directory. */
function appfsPath(path: string, wanted: VmmCapabilities['appfs']): string {
  const absolute = readable('appfs', path);
  const isUnpacked = isDirectory(absolute);
  if (isUnpacked && wanted === 'image') {
    throw new FlagError(
      EXIT_CODES.usage,
      `--appfs: ${absolute} is a directory; make an image of it: snapctr images app ${path} --out app.ext4`,
    );
  }
  if (!isUnpacked && wanted === 'directory') {
    throw new FlagError(EXIT_CODES.usage, `--appfs: ${absolute} is a file; --vmm process takes the directory itself`);
  }
  return absolute;
}

function initrdBeside(kernelPath: string, initrd: string | undefined): string {
  return resolve(initrd ?? join(dirname(kernelPath), 'initrd.cpio'));
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function readable(flag: string, path: string, help = '"snapctr images" builds images'): string {
  const absolute = resolve(path);
  try {
    accessSync(absolute, constants.R_OK);
    return absolute;
  } catch {
    const why = existsSync(absolute) ? 'cannot be read' : 'does not exist';
    throw new FlagError(EXIT_CODES.file_missing, `--${flag}: ${absolute} ${why}; ${help}`);
  }
}

function parseEnvironment(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(pair) ?? [];
      if (name === undefined || value === undefined) {
        throw new FlagError(EXIT_CODES.usage, `--env ${JSON.stringify(pair)}: expected NAME=VALUE`);
      }
      return [name, value];
    }),
  );
}
