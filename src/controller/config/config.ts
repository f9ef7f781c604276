/** Runs in snapctr. The configuration: read once, checked whole, then frozen. See docs/config.md. */
import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { messageOf } from '../../protocol/errors.ts';
import { capabilitiesOf, SMALLEST_VM_MIB, type VmmWish } from '../../protocol/vmms.ts';
import type { VmmSettings } from '../../protocol/vmm-settings.ts';
import type { LambdaAccount } from '../../protocol/arn.ts';
import type { FunctionConfig } from '../../registry/function-version.ts';
import type { EvictionOrderName } from '../pool/eviction-orders.ts';
import { readFunctions, type BrokenEntry, type FunctionContext } from './functions.ts';
import { hasNetwork, readNetwork } from './network.ts';
import { Paths, type PathKind } from './paths.ts';
import { controllerDefaults, controllerSchema } from './schema.ts';
import type { EventSourceSettings } from './event-sources.ts';
import type { EventsSettings } from './events.ts';
import { natsSettings, type NatsSettings } from './nats.ts';
import type { ScheduleSettings } from './schedules.ts';
import type { UrlSettings } from './url.ts';
import { checkUserCount, firecrackerSettings, jailerSettings, qemuSettings } from './vmm.ts';
import { check } from '../../yaml/check.ts';
import { ConfigError, formatProblem, YamlFile, type Problem } from '../../yaml/yaml-file.ts';
import type { RetentionLimits } from '../../storage/retention.ts';

export { ConfigError } from '../../yaml/yaml-file.ts';

/**
 * A function that the configuration names and that cannot run: its entry is wrong, or its files could not be made ready. The
 * others are served; who asks for this one is told why.
 */
export interface BrokenFunction {
  /** Null: the entry has no name by which anybody could ask for it. */
  readonly name: string | null;
  /** What is wrong and what to change, one line each. */
  readonly problems: readonly string[];
}

export interface Config {
  /** Memory for VMs, all together. */
  readonly memoryMib: number;
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** Largest request, in bytes. */
  readonly maxPayloadBytes: number;
  /** Requests that may wait for a VM. */
  readonly queueCapacity: number;
  /** A request that would wait longer than this in a queue that stands is refused, in ms. */
  readonly queueWaitMs: number;
  /** Longest that a request waits for a VM, in ms. */
  readonly queueTimeoutMs: number;
  /** What requests over HTTP and their answers may take of memory together. */
  readonly requestMemoryMib: number;
  readonly snapshotDirectory: string;
  /** Where root file systems are looked for by name. */
  readonly runtimefsDirectory: string;
  /** Memory for VMs launched ahead of requests. */
  readonly standbyMib: number;
  /** Which idle VM goes first, of those that may. */
  readonly keepAlive: EvictionOrderName;
  /** What functions are told of the AWS account they run in, and clients see in ARNs. */
  readonly lambda: LambdaAccount;
  /** For images of functions, and again for layers of snapshots. */
  readonly retention: RetentionLimits;
  readonly functions: ReadonlyMap<string, FunctionConfig>;
  /** Addresses over plain HTTP of those that have one, by name. */
  readonly urls: ReadonlyMap<string, UrlSettings>;
  /** How events are tried, of those that say so, by name. */
  readonly events: ReadonlyMap<string, EventsSettings>;
  /** When functions get events by themselves, of those that say so, by name. */
  readonly schedules: ReadonlyMap<string, readonly ScheduleSettings[]>;
  /** Streams whose messages functions get, of those that say so, by name. */
  readonly eventSources: ReadonlyMap<string, readonly EventSourceSettings[]>;
  /** Has no name of `functions`. */
  readonly broken: readonly BrokenFunction[];
  /** What firerunner is told of the host. */
  readonly vmmSettings: VmmSettings;
  /** Where the streams of event sources are; null: there are none. */
  readonly nats: NatsSettings | null;
  /** The files that were read, absolute. */
  readonly files: readonly string[];
  /** What a user should know, one line each: keys without effect, paths found elsewhere. */
  readonly notes: readonly string[];
}

export interface ConfigContext {
  /** `--mem`. */
  readonly memoryMib: number;
  readonly hostMemoryMib: number;
  /** `--vmm`; kernel and root file systems need to exist only for one that isolates. */
  readonly vmm: VmmWish;
  /** Absolute. */
  readonly cwd: string;
}

/**
 * Reads the controller's YAML file and the function list it names. Creates `snapshot_dir` if it is missing.
 *
 * A function whose entry is wrong is left out, and named in `broken`.
 *
 * @throws ConfigError if one of the files cannot be read or the controller's is wrong, with every problem of both files, each
 * with file, line and column.
 */
export function loadConfig(path: string, context: ConfigContext): Config {
  const problems: Problem[] = memoryProblems(context);
  const notes: string[] = [];
  const source = YamlFile.read(resolve(context.cwd, path), path, problems);
  if (source === null) throw new ConfigError(problems);
  if (Array.isArray(source.value)) {
    const isList =
      "this is a list of functions; --config takes the controller's file, which names it by `function_config`";
    throw new ConfigError([...problems, source.problemAt([], isList)]);
  }
  const yaml = check(controllerSchema, source.value, source, [], '', problems);
  const paths = new Paths(context.cwd);
  const files = new ControllerFiles(path, source, paths, context, problems, notes);

  // Taken one by one, also from a file that did not pass: each tells more of what is wrong.
  const { isolates: withVms } = capabilitiesOf(context.vmm);
  const kernelPath = files.take(
    'kernel_path',
    withVms ? 'file' : null,
    'build it with `snapctr images build kernel`, or correct the path',
  );
  const initrdPath =
    files.take(
      'initrd_path',
      withVms ? 'file' : null,
      'build it with `snapctr images build kernel`, or correct the path',
    ) ?? (kernelPath === null ? null : join(dirname(kernelPath), 'initrd.cpio'));
  const runtimefs = files.take(
    'runtimefs_dir',
    withVms ? 'directory' : null,
    'build images into it with `snapctr images build`, or correct the path',
  );
  const appfs = files.take('appfs_dir', 'directory', 'create it, or name the directory with your functions');
  const snapshotDirectory = files.take('snapshot_dir', null, '');
  const functionList = files.take('function_config', 'file', 'write the list of functions, or correct the path');
  files.checkInitrdDefault(initrdPath);
  files.checkStandby(yaml?.standby ?? 0, context.memoryMib);
  files.noteFirerunner();
  const network = readNetwork(source, problems);
  files.noteJailer();
  if (yaml !== null) checkUserCount(yaml, source, problems);

  const functionContext: FunctionContext = {
    ...context,
    paths,
    runtimefsDirectory: runtimefs,
    appfsDirectory: appfs,
    snapshotDirectory,
    hasNetwork: hasNetwork(source),
    hasNats: yaml?.nats != null,
  };
  const list = functionList === null ? null : readFunctions(functionList, functionContext, problems, notes);
  if (problems.length === 0 && snapshotDirectory !== null) createDirectory(source, snapshotDirectory, problems);

  const isComplete = yaml !== null && kernelPath !== null && initrdPath !== null && list !== null;
  if (problems.length > 0 || !isComplete || snapshotDirectory === null || functionList === null) {
    throw new ConfigError([...problems, ...(list?.broken.flatMap((one) => one.problems) ?? [])]);
  }
  return Object.freeze({
    memoryMib: context.memoryMib,
    kernelPath,
    initrdPath,
    ...controllerDefaults(yaml, context.memoryMib),
    snapshotDirectory,
    runtimefsDirectory: runtimefs ?? '/',
    functions: list.functions,
    urls: list.urls,
    events: list.events,
    schedules: list.schedules,
    eventSources: list.eventSources,
    broken: Object.freeze(list.broken.map(shown)),
    vmmSettings: Object.freeze({
      qemu: qemuSettings(yaml.qemu),
      firecracker: firecrackerSettings(yaml.firecracker, files.absolute),
      jailer: jailerSettings(yaml.jailer, files.absolute),
      network,
    }),
    nats: natsSettings(yaml.nats, files.absolute),
    files: Object.freeze([resolve(context.cwd, path), functionList]),
    notes: Object.freeze(notes),
  });
}

function shown({ name, problems }: BrokenEntry): BrokenFunction {
  return Object.freeze({ name, problems: Object.freeze(problems.map(formatProblem)) });
}

function memoryProblems({ memoryMib, hostMemoryMib }: ConfigContext): Problem[] {
  const problem = (message: string): Problem[] => [{ file: `--mem ${memoryMib}`, line: null, column: null, message }];
  if (!Number.isInteger(memoryMib) || memoryMib < SMALLEST_VM_MIB) {
    return problem(`must be a whole number of MB, at least ${SMALLEST_VM_MIB} (one small VM)`);
  }
  return memoryMib > hostMemoryMib ? problem(`this host has ${hostMemoryMib} MB; give less`) : [];
}

function createDirectory(source: YamlFile, path: string, problems: Problem[]): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    const reason = messageOf(error);
    problems.push(source.problemAt(['snapshot_dir'], `\`snapshot_dir\` cannot be created: ${reason}`));
  }
}

/** The files and directories that the controller's own file names. */
class ControllerFiles {
  readonly #source: YamlFile;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #directory: string;
  readonly #paths: Paths;
  readonly #vmm: ConfigContext['vmm'];
  /** A path of this file that need not lead anywhere. */
  readonly absolute = (path: string): string => resolve(this.#directory, path);
  readonly #problems: Problem[];
  readonly #notes: string[];

  constructor(
    file: string,
    source: YamlFile,
    paths: Paths,
    context: ConfigContext,
    problems: Problem[],
    notes: string[],
  ) {
    this.#source = source;
    const { value } = source;
    this.#values = typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
    this.#directory = dirname(resolve(context.cwd, file));
    this.#paths = paths;
    this.#vmm = context.vmm;
    this.#problems = problems;
    this.#notes = notes;
  }

  /**
   * The absolute path that `key` names, or null if there is none.
   * @param wanted what has to be there; null: nothing.
   * @param advice what to do if it is not.
   */
  take(key: string, wanted: Exclude<PathKind, 'missing'> | null, advice: string): string | null {
    const value = this.#values[key];
    // Whatever is no path was reported by the schema.
    if (typeof value !== 'string' || value === '') return null;
    const complain = (message: string): void => void this.#problems.push(this.#source.problemAt([key], message));
    try {
      const { path, fromWorkingDirectory } = this.#paths.resolve(value, this.#directory);
      if (fromWorkingDirectory) {
        this.#note(key, `\`${key}\` is not beside this file; taken from the working directory: ${path}`);
      }
      const found = this.#paths.kindOf(path);
      if (wanted !== null && found !== wanted) {
        complain(`\`${key}\`: ${path} ${found === 'missing' ? 'does not exist' : `is no ${wanted}`}; ${advice}`);
        return null;
      }
      return path;
    } catch (error) {
      complain(`\`${key}\` ${messageOf(error)}`);
      return null;
    }
  }

  /** A default that is not there is the kernel's matter: it was built without its initial RAM disk. */
  checkInitrdDefault(path: string | null): void {
    const isDefault = (this.#values['initrd_path'] ?? null) === null;
    if (!capabilitiesOf(this.#vmm).isolates || !isDefault || path === null || this.#paths.kindOf(path) === 'file')
      return;
    const message = `the initial RAM disk ${path} does not exist; build it with \`snapctr images build kernel\`, or name it with \`initrd_path\``;
    this.#problems.push(this.#source.problemAt(['kernel_path'], message));
  }

  checkStandby(standbyMib: number, memoryMib: number): void {
    if (standbyMib <= memoryMib) return;
    const message = `\`standby\` of ${standbyMib} MB is over the ${memoryMib} MB of --mem, which it is a part of; lower it`;
    this.#problems.push(this.#source.problemAt(['standby'], message));
  }

  noteJailer(): void {
    const isUsed = capabilitiesOf(this.#vmm).jails;
    if (isUsed || (this.#values['jailer'] ?? null) === null) return;
    this.#note('jailer', `\`jailer\` has no effect: it is Firecracker's, and VMs run with --vmm ${this.#vmm}`);
  }

  noteFirerunner(): void {
    if (!('firerunner_path' in this.#values)) return;
    this.#note('firerunner_path', '`firerunner_path` has no effect: snapctr starts the firerunner it came with');
  }

  #note(key: string, message: string): void {
    this.#notes.push(formatProblem(this.#source.problemAtKey([key], message)));
  }
}
