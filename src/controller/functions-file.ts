/**
 * Runs in snapctr. The YAML files as a source of functions: what they say is what the registry has, at the start and whenever
 * they are read again. A file that cannot be used changes nothing, an entry that cannot be used leaves its function as it is.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { functionArn, LATEST } from '../protocol/arn.ts';
import { messageOf } from '../protocol/errors.ts';
import type { Build, Deployments } from '../registry/deployments.ts';
import type { FunctionRegistry, RegisteredSettings } from '../registry/function-registry.ts';
import type { EventInvokeRecord } from '../registry/records.ts';
import { urlIdOf } from '../registry/url-id.ts';
import type { BrokenFunction, Config } from './config/config.ts';
import { eventSourcesOf } from './config/event-sources.ts';
import { eventInvokeOf } from './config/events.ts';
import { overLimits } from './function-limits.ts';
import type { FileWatch } from '../storage/file-watch.ts';
import type { Logger } from './log.ts';

/** So many functions are dealt with at once; then the event loop has its turn. */
const AT_ONCE = 50;
/** A slip in a shared image may break every function of the list. */
const MAX_TOLD = 20;

export interface FunctionsFileOptions {
  readonly registry: FunctionRegistry;
  readonly deployments: Deployments;
  /** Reads the files. @throws ConfigError with every problem of them. */
  readonly load: () => Config;
  /** Called for each reading: whatever directories hold by then is what is deployed. */
  readonly createBuild: () => Build;
  /** Whether a function of this name was made over the API: then it is not this source's. */
  readonly isTaken?: (name: string) => boolean;
  /** Told which files a change of would be one of functions; null: nobody watches. */
  readonly watch: Pick<FileWatch, 'set' | 'close'> | null;
  readonly logger: Logger;
}

export class FunctionsFile {
  readonly #options: FunctionsFileOptions;
  /** Names of functions that are this source's. */
  #names: ReadonlySet<string> = new Set();
  /** The list of functions, as it was read last. */
  #file = '';
  /** As they were at the start. */
  #settings: string | null = null;
  /** Readings are done one after the other; what comes of one does not keep the next. */
  #reading: Promise<unknown> = Promise.resolve();
  #readings = 0;

  constructor(options: FunctionsFileOptions) {
    this.#options = options;
  }

  /**
   * Reads the files again. What an earlier reading has not brought to an end is called off where it is for the same functions:
   * an import that hangs does not keep its own mend waiting. Resolves when all functions answer, or have failed.
   */
  async reload(): Promise<void> {
    const { logger } = this.#options;
    const reading = (this.#readings += 1);
    const config = await this.#inTurn(async () => {
      // Several signals in a row ask for one reading.
      const read = reading === this.#readings ? this.#read() : null;
      return read === null ? null : { read, settled: await this.#deploy(read) };
    });
    if (config === null) return;
    await this.#settle(config.read, config.settled);
    // A later one tells how it ended.
    if (reading !== this.#readings) return;
    logger.info({ functions: config.read.functions.size }, 'the functions are as the configuration has them');
  }

  /** Resolves when every function answers or has failed. */
  async apply(config: Config): Promise<void> {
    await this.#settle(config, await this.#inTurn(() => this.#deploy(config)));
  }

  /** The file that a function is to be changed in; null: it is none of this source's. */
  fileOf(name: string): string | null {
    return this.#names.has(name) ? this.#file : null;
  }

  /** Notices no more changes. */
  async close(): Promise<void> {
    await this.#options.watch?.close();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#reading.then(work);
    this.#reading = done.catch(() => undefined);
    return done;
  }

  /** Null, and a word in the log, if the files cannot be used. */
  #read(): Config | null {
    const { load, logger } = this.#options;
    try {
      const config = load();
      for (const note of config.notes) logger.warn(note);
      return config;
    } catch (error) {
      logger.error(`the configuration cannot be used, and nothing is changed: ${messageOf(error)}`);
      return null;
    }
  }

  /** Begins a deployment of each function. @returns what each comes to, when it has come to it. */
  async #deploy(config: Config): Promise<readonly Promise<unknown>[]> {
    const { deployments, createBuild, watch, isTaken = () => false } = this.#options;
    this.#noteSettings(config);
    const apps = [...config.functions.values()].flatMap(({ appfs, layers }) =>
      appfs === null ? [] : [appfs.path, ...layers],
    );
    // Before the files are read, so that no change comes in between.
    watch?.set([...config.files, ...apps]);
    const build = createBuild();
    const isOurs = (name: string): boolean => !isTaken(name);
    const broken = config.broken.filter((one): one is BrokenFunction & { name: string } => one.name !== null);
    const all = [...config.functions.keys(), ...broken.map(({ name }) => name)];
    const names = new Set(all.filter(isOurs));
    this.#tellTaken(all.filter(isTaken));
    this.#file = config.files.at(-1) ?? '';
    for (const name of this.#names) if (!names.has(name)) deployments.remove(name);
    this.#names = names;
    for (const { name, problems } of broken) if (isOurs(name)) deployments.refuse(name, problems);
    const over = overLimits(config, this.#options.registry, isOurs);
    for (const [name, problem] of over) deployments.refuse(name, [problem]);
    // All of them before anything else has its turn: what was due while snapctr did not run is looked for at the start.
    for (const name of config.functions.keys()) if (isOurs(name) && !over.has(name)) this.#setSchedules(name, config);
    const settled: Promise<unknown>[] = [];
    for (const fn of config.functions.values()) {
      if (isTaken(fn.name) || over.has(fn.name)) continue;
      this.#configure(fn.name, config);
      settled.push(deployments.deploy(fn, build));
      if (settled.length % AT_ONCE === 0) await nextTurn();
    }
    return settled;
  }

  #setSchedules(name: string, { schedules }: Config): void {
    const { registry } = this.#options;
    const settings = schedules.get(name) ?? [];
    const before = registry.get(name)?.schedules ?? [];
    const now = settings.map((one) => ({ ...one, isPaused: false, since: null }));
    if (JSON.stringify(before) !== JSON.stringify(now)) registry.configure(name, { schedules: now });
  }

  /** What stays as it was keeps its dates. */
  #configure(name: string, config: Config): void {
    const { registry } = this.#options;
    const before = registry.get(name);
    const sources = before?.eventSources ?? [];
    const eventSources = eventSourcesOf(name, config.eventSources.get(name) ?? [], config.lambda, sources);
    const settings = {
      ...urlSetting(name, config, before?.urls ?? []),
      ...eventSetting(name, config, before?.eventInvoke[LATEST]),
      ...(JSON.stringify(sources) !== JSON.stringify(eventSources) && { eventSources }),
    };
    if (Object.keys(settings).length > 0) registry.configure(name, settings);
  }

  async #settle(config: Config, settled: readonly Promise<unknown>[]): Promise<void> {
    await Promise.all(settled);
    this.#tellFailures(config);
  }

  /** All but the functions is fixed for the life of the controller. */
  #noteSettings(config: Config): void {
    const text = JSON.stringify({
      ...config,
      functions: null,
      urls: null,
      events: null,
      schedules: null,
      eventSources: null,
      broken: null,
      notes: null,
    });
    this.#settings ??= text;
    if (this.#settings === text) return;
    this.#options.logger.warn(
      'settings of the controller itself have changed; they take effect when it is started again',
    );
  }

  #tellTaken(names: readonly string[]): void {
    for (const name of names.slice(0, MAX_TOLD)) {
      const advice = 'delete that one, or give this one another name';
      this.#options.logger.error({ function: name }, `a function of this name was made over the API: ${advice}`);
    }
    const more = names.length - MAX_TOLD;
    if (more > 0)
      this.#options.logger.error(`${more} more functions have names of functions that were made over the API`);
  }

  #tellFailures({ broken }: Config): void {
    const { registry, logger } = this.#options;
    const failed = [...this.#names].flatMap((name) => registry.get(name) ?? []).filter((fn) => fn.problems.length > 0);
    const nameless = broken.filter(({ name }) => name === null);
    for (const { name, problems } of [...nameless, ...failed].slice(0, MAX_TOLD)) {
      const serves = name !== null && registry.get(name)?.latest != null;
      const what = serves ? 'this function stays as it was' : 'this function cannot run';
      logger.error({ function: name }, `${what}: ${problems.join('; ')}`);
    }
    const more = nameless.length + failed.length - MAX_TOLD;
    if (more > 0) logger.error(`${more} more functions cannot run or were not changed; /status tells why`);
  }
}

/** Nothing, if the address stays as it was. */
function urlSetting(
  name: string,
  { urls, lambda }: Config,
  before: RegisteredSettings['urls'],
): Partial<Pick<RegisteredSettings, 'urls'>> {
  const settings = urls.get(name);
  const [known] = before;
  if (settings === undefined) return known === undefined ? {} : { urls: [] };
  const { authType, invokeMode, cors } = known ?? {};
  if (known !== undefined && JSON.stringify({ authType, invokeMode, cors }) === JSON.stringify(settings)) return {};
  const modified = new Date().toISOString();
  const id = urlIdOf(functionArn(lambda, name));
  return {
    urls: [{ id, ...settings, function: name, qualifier: null, created: known?.created ?? modified, modified }],
  };
}

/** Nothing, if its events are tried as before. */
function eventSetting(
  name: string,
  { events, lambda }: Config,
  before: EventInvokeRecord | undefined,
): Partial<Pick<RegisteredSettings, 'eventInvoke'>> {
  const settings = events.get(name);
  if (settings === undefined) return before === undefined ? {} : { eventInvoke: {} };
  const now = eventInvokeOf(settings, lambda, before?.modified ?? new Date().toISOString());
  if (JSON.stringify(before) === JSON.stringify(now)) return {};
  return { eventInvoke: { [LATEST]: { ...now, modified: new Date().toISOString() } } };
}
