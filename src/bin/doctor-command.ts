/** `snapctr doctor`: the seam between the configuration and the checks. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { ConfigError, loadConfig, type Config } from '../controller/config/config.ts';
import { formatProblem } from '../yaml/yaml-file.ts';
import { EXIT_FAILED, EXIT_OK } from '../controller/exit-status.ts';
import type { RootFileSystem, Subject } from '../doctor/context.ts';
import { examine } from '../doctor/doctor.ts';
import { formatConclusion, formatResult } from '../doctor/report.ts';
import { imagePaths } from '../images/build.ts';
import { DEFAULT_IMAGES_DIRECTORY, PROJECT_ROOT } from '../images/project.ts';
import { NO_SETTINGS } from '../protocol/vmm-settings.ts';
import { runtimeOfRuntimefs, STANDING_RUNTIMEFS } from '../protocol/runtimes.ts';
import { wholeNumber } from './flags.ts';
import { SMALLEST_VM_MIB } from '../protocol/vmms.ts';

interface DoctorFlags {
  readonly config?: string;
  readonly mem?: number;
  readonly json?: true;
}

const HELP = `
Each check is one line; below it stands what to do. docs/doctor.md explains them all.
Guests are really booted, so it takes a few seconds. What they show is kept, and goes for the next start with --vmm auto.
Exit status: 0 functions can run in VMs, the last line says in which; 1 they cannot; 2 bad command line.

Examples:
  $ snapctr doctor                                                 this host and the images of this project
  $ snapctr doctor --config resources/controller.yaml --mem 4096   what a controller would be started with
  $ snapctr doctor --json`;

/** Adds `doctor`. */
export function registerDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check whether this host can run functions in VMs, and say what to do where it cannot')
    .option('-c, --config <file>', 'controller configuration (YAML); without it the defaults of this project')
    .option('--mem <mb>', 'memory for all VMs together, in MB, as for the controller', wholeNumber(SMALLEST_VM_MIB))
    .option('--json', 'as JSON, on stdout')
    .addHelpText('after', HELP)
    .action(runDoctor);
}

async function runDoctor(flags: DoctorFlags): Promise<void> {
  const isJson = flags.json === true;
  // A reader that has seen enough, such as `head`, takes nothing from the diagnosis.
  process.stdout.on('error', () => undefined);
  const coloured = process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '';
  const diagnosis = await examine(subjectOf(flags), (result) => {
    if (!isJson) process.stdout.write(formatResult(result, coloured));
  });
  process.stdout.write(isJson ? `${JSON.stringify(diagnosis, null, 2)}\n` : formatConclusion(diagnosis, coloured));
  process.exitCode = diagnosis.ok ? EXIT_OK : EXIT_FAILED;
}

function subjectOf({ config: file, mem }: DoctorFlags): Subject {
  const memoryMib = mem ?? null;
  if (file === undefined) return { ...projectDefaults(), memoryMib };
  const { config, problems } = readConfiguration(file, mem ?? Number.MAX_SAFE_INTEGER);
  return {
    configuration: { file, problems },
    guest: config === null ? null : { kernelPath: config.kernelPath, initrdPath: config.initrdPath },
    rootFileSystems: config === null ? [] : rootFileSystemsOf(config),
    snapshotDirectory: config?.snapshotDirectory ?? null,
    functionCount: config?.functions.size ?? 0,
    memoryMib,
    settings: config?.vmmSettings ?? NO_SETTINGS,
  };
}

function projectDefaults(): Subject {
  const { kernel, initrd, runtimefs } = imagePaths(DEFAULT_IMAGES_DIRECTORY);
  return {
    configuration: null,
    guest: { kernelPath: kernel, initrdPath: initrd },
    rootFileSystems: STANDING_RUNTIMEFS.map((name) => ({ path: runtimefs[name], runtime: runtimeOfRuntimefs(name) })),
    snapshotDirectory: join(DEFAULT_IMAGES_DIRECTORY, 'snapshots'),
    functionCount: exampleFunctionCount(),
    memoryMib: null,
    settings: NO_SETTINGS,
  };
}

/** Functions of the configuration that `npm start` takes. */
function exampleFunctionCount(): number {
  const list: unknown = parse(readFileSync(join(PROJECT_ROOT, 'resources', 'functions.yaml'), 'utf8'));
  return Array.isArray(list) ? list.length : 0;
}

/** Images that are missing are a problem of the configuration, but the rest of it is still wanted: it is read without them. */
function readConfiguration(
  file: string,
  memoryMib: number,
): { readonly config: Config | null; readonly problems: readonly string[] } {
  const context = { memoryMib, hostMemoryMib: Number.MAX_SAFE_INTEGER, cwd: process.cwd() };
  const problems: string[] = [];
  try {
    const config = loadConfig(file, { ...context, vmm: 'auto' });
    if (config.broken.length === 0) return { config, problems };
    problems.push(...config.broken.flatMap((one) => one.problems));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems.map(formatProblem));
  }
  try {
    return { config: loadConfig(file, { ...context, vmm: 'process' }), problems };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: null, problems };
  }
}

function rootFileSystemsOf({ functions }: Config): readonly RootFileSystem[] {
  const byPath = new Map([...functions.values()].map(({ runtimefsPath: path, runtime }) => [path, { path, runtime }]));
  return [...byPath.values()];
}
