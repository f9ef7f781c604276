/** Runs in snapctr. The function list: each entry checked against the machine and the files around it. */
import { basename, dirname, resolve } from 'node:path';
import { LATEST } from '../../protocol/arn.ts';
import {
  defaultRuntimefs,
  isMadeOnDemand,
  needsVms,
  RUNTIME_NAMES,
  runtimefsAt,
  runtimeOfRuntimefs,
  RUNTIMES,
  type RuntimefsName,
  type RuntimeName,
} from '../../protocol/runtimes.ts';
import { webOf } from '../../protocol/web.ts';
import { capabilitiesOf, SMALLEST_VM_MIB, type VmmWish } from '../../protocol/vmms.ts';
import type { FunctionConfig } from '../../registry/function-version.ts';
import { MAX_EVENT_SOURCES } from '../../registry/event-source-limits.ts';
import { MAX_SCHEDULES } from '../../registry/schedule-limits.ts';
import { checkImageKeys, containerSettings, imageOf } from './containers.ts';
import { missingModule } from './handler-files.ts';
import { below, type Paths } from './paths.ts';
import { eventSourceSettings, type EventSourceSettings } from './event-sources.ts';
import { eventsSettings, type EventsSettings } from './events.ts';
import { scheduleSettings, type ScheduleSettings } from './schedules.ts';
import { urlSettings, type UrlSettings } from './url.ts';
import { check } from '../../yaml/check.ts';
import { Spelling } from '../../yaml/spelling.ts';
import {
  DEFAULT_TIMEOUT_S,
  functionSchema,
  UNUSED_FUNCTION_KEYS,
  type FunctionYaml,
  type UnusedFunctionKey,
} from './schema.ts';
import { readRegularSync } from '../../storage/regular-file.ts';
import { formatProblem, YamlFile, type Problem } from '../../yaml/yaml-file.ts';

/** What to add where the language is not known. */
const ANY_RUNTIME = RUNTIME_NAMES.map((name) => `\`runtime: ${defaultRuntimefs(name)}\``).join(' or ');

export interface FunctionContext {
  readonly memoryMib: number;
  readonly vmm: VmmWish;
  readonly paths: Paths;
  /** Null if the controller's file does not name it rightly; then nothing below it is checked. */
  readonly runtimefsDirectory: string | null;
  readonly appfsDirectory: string | null;
  readonly snapshotDirectory: string | null;
  /** Whether the controller's file has a `network` block. */
  readonly hasNetwork: boolean;
  /** Whether it has a `nats` block. */
  readonly hasNats: boolean;
}

/** An entry that cannot be used; `name` is null if it has none that could be. */
export interface BrokenEntry {
  readonly name: string | null;
  readonly problems: readonly Problem[];
}

export interface FunctionEntries {
  /** By name, in the list's order. */
  readonly functions: ReadonlyMap<string, FunctionConfig>;
  /** Of those that have one, by name. */
  readonly urls: ReadonlyMap<string, UrlSettings>;
  readonly events: ReadonlyMap<string, EventsSettings>;
  readonly schedules: ReadonlyMap<string, readonly ScheduleSettings[]>;
  readonly eventSources: ReadonlyMap<string, readonly EventSourceSettings[]>;
  readonly broken: readonly BrokenEntry[];
}

/**
 * The functions of a list. What is wrong with the file as a whole is added to `problems`, what is odd to `notes`.
 * @returns null if the file cannot be used at all.
 */
export function readFunctions(
  path: string,
  context: FunctionContext,
  problems: Problem[],
  notes: string[],
): FunctionEntries | null {
  const source = YamlFile.read(path, context.paths.shown(path), problems);
  if (source === null) return null;
  if (!Array.isArray(source.value)) {
    problems.push(source.problemAt([], 'must be a list of functions; begin each with `- name: …`'));
    return null;
  }
  const list = new FunctionList(source, dirname(path), context, notes);
  for (const [index, entry] of (source.value as readonly unknown[]).entries()) list.add(index, entry);
  list.noteRemarks();
  if (source.value.length === 0) notes.push(formatProblem(source.problemAt([], 'there are no functions in this list')));
  return list.entries();
}

class FunctionList {
  readonly #functions = new Map<string, FunctionConfig>();
  readonly #urls = new Map<string, UrlSettings>();
  readonly #events = new Map<string, EventsSettings>();
  readonly #schedules = new Map<string, readonly ScheduleSettings[]>();
  readonly #eventSources = new Map<string, readonly EventSourceSettings[]>();
  /** In `#schedules`, all functions together. */
  #scheduleCount = 0;
  readonly #broken = new Map<number, BrokenEntry & { readonly problems: Problem[] }>();
  readonly #source: YamlFile;
  /** Of the file. */
  readonly #directory: string;
  readonly #context: FunctionContext;
  readonly #notes: string[];
  /** Of the entry that is being read. */
  #problems: Problem[] = [];
  /** Where each name was first. */
  readonly #indices = new Map<string, number>();
  /** What is odd about a key, by that key: the first place and how many functions have it. */
  readonly #remarks = new Map<string, { readonly index: number; readonly text: string; count: number }>();
  readonly #spelling = new Spelling();
  readonly #imageRuntimes = new Map<string, RuntimeName | null>();

  constructor(source: YamlFile, directory: string, context: FunctionContext, notes: string[]) {
    this.#source = source;
    this.#directory = directory;
    this.#context = context;
    this.#notes = notes;
  }

  entries(): FunctionEntries {
    const broken = [...this.#broken.entries()].sort(([a], [b]) => a - b).map(([, entry]) => entry);
    return {
      functions: this.#functions,
      urls: this.#urls,
      events: this.#events,
      schedules: this.#schedules,
      eventSources: this.#eventSources,
      broken,
    };
  }

  add(index: number, entry: unknown): void {
    this.#problems = [];
    const fn = this.#read(index, entry);
    if (this.#problems.length === 0) {
      if (fn !== null) this.#functions.set(fn.name, fn);
      return;
    }
    const { data: name = null } = functionSchema.shape.name.safeParse(valueOf(entry, 'name'));
    // Of two functions with one name nobody can tell which is meant: both are broken, as one.
    const first = (name === null ? undefined : this.#indices.get(name)) ?? index;
    if (name !== null) {
      for (const all of [this.#functions, this.#urls, this.#events, this.#eventSources]) all.delete(name);
      this.#setSchedules(name, []);
    }
    const before = this.#broken.get(first);
    if (before === undefined) this.#broken.set(first, { name, problems: this.#problems });
    else before.problems.push(...this.#problems);
  }

  #setSchedules(name: string, schedules: readonly ScheduleSettings[]): void {
    this.#scheduleCount += schedules.length - (this.#schedules.get(name)?.length ?? 0);
    if (schedules.length > 0) this.#schedules.set(name, schedules);
    else this.#schedules.delete(name);
  }

  #setEventSources(
    name: string,
    yaml: NonNullable<FunctionYaml['event_sources']>,
    complain: (message: string) => void,
  ): void {
    if (yaml.length > 0 && !this.#context.hasNats) {
      return complain("`event_sources` needs NATS servers; name them by `nats` in the controller's file");
    }
    this.#eventSources.set(name, eventSourceSettings(yaml, complain));
    let count = 0;
    for (const sources of this.#eventSources.values()) count += sources.length;
    if (count > MAX_EVENT_SOURCES) {
      complain(`there are more than ${MAX_EVENT_SOURCES} event sources in the file by now; leave some out`);
    }
  }

  /** Null if something is wrong, here or with a directory of the controller's. */
  #read(index: number, entry: unknown): FunctionConfig | null {
    const subject = subjectOf(index, entry);
    this.#checkName(index, entry);
    const yaml = check(functionSchema, entry, this.#source, [index], subject, this.#problems);
    if (yaml === null) return null;
    const complain = (key: string, message: string): void => {
      this.#problems.push(this.#source.problemAt([index, key], `${subject}${message}`));
    };
    this.#remarkUnusedKeys(index, yaml);
    const memoryMib = yaml.memory ?? SMALLEST_VM_MIB;
    if (memoryMib > this.#context.memoryMib) {
      complain(
        'memory',
        `\`memory\` of ${memoryMib} MB is over the ${this.#context.memoryMib} MB of --mem; lower it, or give --mem more`,
      );
    }
    checkImageKeys(yaml, complain);
    const runtimefsPath = this.#runtimefs(yaml, complain);
    const appfs = yaml.image
      ? imageOf(yaml.image, this.#directory, this.#context.vmm, complain)
      : this.#appfs(yaml, complain);
    if (runtimefsPath === null || appfs === undefined) return null;
    const wanted = yaml.image ? 'provided' : yaml.runtime;
    const runtime = wanted ? runtimeOfRuntimefs(wanted) : this.#runtimeOf(runtimefsPath);
    if (runtime === null && !capabilitiesOf(this.#context.vmm).isolates) {
      complain('runtimefs', `the language is not known, which --vmm ${this.#context.vmm} needs; add ${ANY_RUNTIME}`);
      return null;
    }
    const { web, problem } = webOf(yaml.environment ?? {}, yaml.web ?? null);
    if (problem !== null) complain('environment', problem);
    if (runtime !== null && web === null) this.#checkRuntime(runtime, yaml, complain);
    if (appfs?.kind === 'directory' && runtime !== null && web === null) {
      const remark = missingModule(yaml.handler ?? null, runtime, appfs.path, this.#context.paths);
      if (remark !== null) this.#remark(index, 'appfs', remark);
    }
    if (yaml.url) this.#urls.set(yaml.name, urlSettings(yaml.url, yaml.web ? 'RESPONSE_STREAM' : 'BUFFERED'));
    if (yaml.events) this.#events.set(yaml.name, eventsSettings(yaml.events));
    if (yaml.schedules) {
      const complainOfSchedules = (message: string): void => complain('schedules', message);
      this.#setSchedules(yaml.name, scheduleSettings(yaml.schedules, complainOfSchedules));
      if (this.#scheduleCount > MAX_SCHEDULES) {
        complainOfSchedules(`there are more than ${MAX_SCHEDULES} schedules in the file by now; leave some out`);
      }
    }
    if (yaml.event_sources)
      this.#setEventSources(yaml.name, yaml.event_sources, (message) => complain('event_sources', message));
    return Object.freeze({
      name: yaml.name,
      version: LATEST,
      runtime,
      runtimefsPath,
      appfs,
      ...(yaml.image ? { container: containerSettings(yaml) } : {}),
      layers: this.#layers(yaml, appfs, complain),
      vcpus: yaml.vcpus ?? 1,
      memoryMib,
      concurrencyLimit: this.#concurrencyLimit(index, yaml),
      timeoutMs: Math.round((yaml.timeout ?? DEFAULT_TIMEOUT_S) * 1000),
      handler: yaml.handler ?? (runtime === null || web !== null ? null : RUNTIMES[runtime].defaultHandler),
      environment: Object.freeze({ ...yaml.environment }),
      snapshotLayers: this.#snapshotLayers(index, yaml),
      ...(web === null ? {} : { web }),
      network: this.#network(index, yaml, complain),
    });
  }

  /** One note for each remark, however many functions it is about. */
  noteRemarks(): void {
    for (const [key, { index, text, count }] of this.#remarks) {
      const where = count === 1 ? '' : ` (here and in ${count - 1} more)`;
      this.#notes.push(formatProblem(this.#source.problemAtKey([index, key], `\`${key}\`${where}: ${text}`)));
    }
  }

  #remark(index: number, key: string, text: string): void {
    const known = this.#remarks.get(key);
    if (known === undefined) this.#remarks.set(key, { index, text, count: 1 });
    else known.count += 1;
  }

  #checkName(index: number, entry: unknown): void {
    const name = valueOf(entry, 'name');
    if (typeof name !== 'string') return;
    const first = this.#indices.get(name);
    if (first === undefined) {
      this.#indices.set(name, index);
      return;
    }
    const { line } = this.#source.problemAt([first, 'name'], '');
    const message = `the name \`${name}\` is taken by the function on line ${line ?? 1}; names must differ`;
    this.#problems.push(this.#source.problemAt([index, 'name'], message));
  }

  #remarkUnusedKeys(index: number, yaml: FunctionYaml): void {
    for (const key of Object.keys(UNUSED_FUNCTION_KEYS) as UnusedFunctionKey[]) {
      if (key in yaml) this.#remark(index, key, `has no effect; ${UNUSED_FUNCTION_KEYS[key]}`);
    }
  }

  #runtimefs(yaml: FunctionYaml, complain: (key: string, message: string) => void): string | null {
    const wanted: RuntimefsName | null | undefined = yaml.image ? 'provided' : yaml.runtime;
    const name = yaml.runtimefs ?? (wanted ? `${wanted}.ext4` : null);
    if (name === null) {
      complain('name', `there is neither \`runtime\` nor \`runtimefs\`; add ${ANY_RUNTIME}`);
      return null;
    }
    const { runtimefsDirectory, paths, vmm } = this.#context;
    if (runtimefsDirectory === null) return null;
    const key = yaml.image ? 'image' : yaml.runtimefs ? 'runtimefs' : 'runtime';
    const path = below(runtimefsDirectory, name);
    if (path === null) {
      complain(key, `\`runtimefs\` must name a file below \`runtimefs_dir\`, not ${JSON.stringify(name)}`);
      return null;
    }
    const kind = paths.kindOf(path);
    // One that is made for the first function that wants it comes with that one's files.
    const comes = kind === 'missing' && Boolean(yaml.appfs) && isMadeOnDemand(path);
    if (!capabilitiesOf(vmm).isolates || kind === 'file' || comes) return path;
    const runtime = runtimeOfName(name);
    const image = wanted ?? runtimefsAt(name) ?? (runtime === null ? null : defaultRuntimefs(runtime));
    const advice = image === null ? 'build or copy it' : `build it with \`snapctr images build ${image}\``;
    const otherwise = key === 'runtimefs' ? `, or correct the name${this.#guessBeside(path)}` : '';
    complain(key, `the image ${path} ${kind === 'missing' ? 'does not exist' : 'is no file'}; ${advice}${otherwise}`);
    return path;
  }

  #checkRuntime(runtime: RuntimeName, yaml: FunctionYaml, complain: (key: string, message: string) => void): void {
    if (RUNTIMES[runtime].host === null && !capabilitiesOf(this.#context.vmm).isolates) {
      complain('runtime', needsVms(runtime));
    }
    if (runtime === 'java' && !yaml.handler) {
      complain(
        'runtime',
        'functions of Java have no usual handler; add `handler`, such as `example.Hello::handleRequest`',
      );
    }
  }

  /** Undefined if it cannot be had. */
  #appfs(yaml: FunctionYaml, complain: (key: string, message: string) => void): FunctionConfig['appfs'] | undefined {
    const { appfsDirectory, paths, vmm } = this.#context;
    if (!yaml.appfs) return null;
    if (appfsDirectory === null) return undefined;
    const path = below(appfsDirectory, yaml.appfs);
    if (path === null) {
      complain(
        'appfs',
        `\`appfs\` must name a file or directory below \`appfs_dir\`, not ${JSON.stringify(yaml.appfs)}`,
      );
      return undefined;
    }
    const kind = paths.kindOf(path);
    if (kind === 'missing') {
      const guess = this.#guessBeside(path);
      complain('appfs', `\`appfs\`: ${path} does not exist; put the function there, or correct the name${guess}`);
      return undefined;
    }
    if (kind === 'file' && path.endsWith('.zip')) return Object.freeze({ kind: 'package', path });
    if (kind === 'file' && capabilitiesOf(vmm).appfs === 'directory') {
      complain(
        'appfs',
        `\`appfs\`: ${path} is an image, which --vmm process cannot use; name the function's directory, or a zip archive`,
      );
      return undefined;
    }
    return Object.freeze({ kind: kind === 'file' ? 'image' : 'directory', path });
  }

  #layers(
    { layers }: FunctionYaml,
    appfs: FunctionConfig['appfs'],
    complain: (key: string, message: string) => void,
  ): FunctionConfig['layers'] {
    const { appfsDirectory, paths } = this.#context;
    if (!layers || layers.length === 0 || appfsDirectory === null) return [];
    if (appfs === null || appfs.kind === 'image') {
      const instead = "name the function's directory or a zip archive as `appfs`";
      complain(
        'layers',
        `\`layers\` cannot be laid over ${appfs === null ? 'a root file system' : 'an image'}; ${instead}`,
      );
    }
    return Object.freeze(
      layers.flatMap((name) => {
        const path = below(appfsDirectory, name);
        if (path === null) {
          complain('layers', `\`layers\` must name what is below \`appfs_dir\`, not ${JSON.stringify(name)}`);
          return [];
        }
        if (paths.kindOf(path) === 'missing') {
          const guess = this.#guessBeside(path);
          complain('layers', `\`layers\`: ${path} does not exist; put the layer there, or correct the name${guess}`);
        }
        return [path];
      }),
    );
  }

  /** Such as " (did you mean x?)", where there is something of a similar name. */
  #guessBeside(path: string): string {
    const guess = this.#spelling.nearest(basename(path), this.#context.paths.namesIn(dirname(path)));
    return guess === null ? '' : ` (did you mean ${guess}?)`;
  }

  /** Layers made by hand. Where one is missing, as after a move from the original, firerunner makes its own. */
  #snapshotLayers(index: number, yaml: FunctionYaml): FunctionConfig['snapshotLayers'] {
    const { snapshotDirectory, paths } = this.#context;
    const diffs = yaml.diff_dirs ?? [];
    const inStore = (name: string): string => resolve(snapshotDirectory ?? '/', name);
    const isMissing = (name: string): boolean => paths.kindOf(inStore(name)) !== 'directory';
    const base = yaml.load_dir ? inStore(yaml.load_dir) : null;
    const itself = 'the snapshot is made here by itself; make layers by hand with `firerunner --dump_to`';
    if (yaml.load_dir && isMissing(yaml.load_dir)) {
      this.#remark(index, 'load_dir', `has no effect; ${base ?? ''} is no directory, so ${itself}`);
    } else if (base !== null && !diffs.some(isMissing)) {
      return Object.freeze([base, ...diffs.map(inStore)]);
    }
    if (diffs.length > 0) this.#remark(index, 'diff_dirs', `has no effect; a layer is missing, so ${itself}`);
    return null;
  }

  #concurrencyLimit(index: number, yaml: FunctionYaml): number | null {
    if (yaml.concurrency_limit !== 0) return yaml.concurrency_limit ?? null;
    this.#remark(index, 'concurrency_limit', '0 means no limit; leave it out to say the same');
    return null;
  }

  #network(index: number, yaml: FunctionYaml, complain: (key: string, message: string) => void): boolean {
    if (yaml.network !== true) return false;
    if (!capabilitiesOf(this.#context.vmm).isolates) {
      this.#remark(index, 'network', "has no effect; with --vmm process functions have the host's own network");
      return false;
    }
    if (!this.#context.hasNetwork) {
      complain('network', "`network` needs taps; name them by `network` in the controller's file, see docs/network.md");
    }
    return true;
  }

  /** The language of an image: its manifest knows, or else its name tells. */
  #runtimeOf(image: string): RuntimeName | null {
    let runtime = this.#imageRuntimes.get(image);
    if (runtime === undefined) {
      runtime = runtimeOfManifest(`${image}.json`) ?? runtimeOfName(basename(image));
      this.#imageRuntimes.set(image, runtime);
    }
    return runtime;
  }
}

function runtimeOfManifest(path: string): RuntimeName | null {
  try {
    const runtime = valueOf(JSON.parse(readRegularSync(path).toString()), 'runtime');
    return RUNTIME_NAMES.find((known) => known === runtime) ?? null;
  } catch {
    // No manifest, or none of ours: the image may come from elsewhere.
    return null;
  }
}

function runtimeOfName(name: string): RuntimeName | null {
  return RUNTIME_NAMES.find((runtime) => RUNTIMES[runtime].imageName.test(name)) ?? null;
}

function subjectOf(index: number, entry: unknown): string {
  const name = valueOf(entry, 'name');
  return typeof name === 'string' && name !== '' ? `function \`${name.slice(0, 64)}\`: ` : `function ${index + 1}: `;
}

function valueOf(entry: unknown, key: string): unknown {
  return typeof entry === 'object' && entry !== null ? (entry as Readonly<Record<string, unknown>>)[key] : undefined;
}
