/**
 * Runs in snapctr. The YAML files as a source of functions: what they say is what the registry has, at the start and whenever
 * they are read again. A file that cannot be used changes nothing, an entry that cannot be used leaves its function as it is.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { messageOf } from '../protocol/errors.ts';
import type { Build, Deployments } from '../registry/deployments.ts';
import type { FunctionRegistry } from '../registry/function-registry.ts';
import type { BrokenFunction, Config } from './config/config.ts';
import type { FileWatch } from './file-watch.ts';
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
  /** Told which files a change of would be one of functions; null: nobody watches. */
  readonly watch: Pick<FileWatch, 'set' | 'close'> | null;
  readonly logger: Logger;
}

export class FunctionsFile {
  readonly #options: FunctionsFileOptions;
  /** Names of functions that are this source's. */
  #names: ReadonlySet<string> = new Set();
  #settings: string | null = null;
  #work: Promise<void> = Promise.resolve();
  #readings = 0;

  constructor(options: FunctionsFileOptions) {
    this.#options = options;
  }

  /** Reads the files again; a reading under way is finished first. Resolves when all that has changed answers, or has failed. */
  reload(): Promise<void> {
    const { load, logger } = this.#options;
    const reading = (this.#readings += 1);
    return this.#after(async () => {
      // Several signals in a row ask for one reading.
      if (reading !== this.#readings) return;
      let config: Config;
      try {
        config = load();
      } catch (error) {
        logger.error(`the configuration cannot be used, and nothing is changed: ${messageOf(error)}`);
        return;
      }
      for (const note of config.notes) logger.warn(note);
      await this.#apply(config);
      logger.info({ functions: config.functions.size }, 'the functions are as the configuration has them');
    });
  }

  /** Resolves when every function answers or has failed. */
  apply(config: Config): Promise<void> {
    return this.#after(() => this.#apply(config));
  }

  /** Notices no more changes. */
  async close(): Promise<void> {
    await this.#options.watch?.close();
  }

  #after(work: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(work);
    return this.#work;
  }

  async #apply(config: Config): Promise<void> {
    const { deployments, createBuild, watch } = this.#options;
    this.#noteSettings(config);
    const apps = [...config.functions.values()].flatMap(({ appfs }) => appfs?.path ?? []);
    // Before the files are read, so that no change comes in between.
    watch?.set([...config.files, ...apps]);
    const build = createBuild();
    const broken = config.broken.filter((one): one is BrokenFunction & { name: string } => one.name !== null);
    const names = new Set([...config.functions.keys(), ...broken.map(({ name }) => name)]);
    for (const name of this.#names) if (!names.has(name)) deployments.remove(name);
    this.#names = names;
    for (const { name, problems } of broken) deployments.refuse(name, problems);
    const settled: Promise<void>[] = [];
    for (const fn of config.functions.values()) {
      settled.push(deployments.deploy(fn, build));
      if (settled.length % AT_ONCE === 0) await nextTurn();
    }
    await Promise.all(settled);
    this.#tellFailures(config);
  }

  /** All but the functions is fixed for the life of the controller. */
  #noteSettings(config: Config): void {
    const text = JSON.stringify({ ...config, functions: null, broken: null, notes: null });
    if (this.#settings !== null && this.#settings !== text) {
      this.#options.logger.warn(
        'settings of the controller itself have changed; they take effect when it is started again',
      );
    }
    this.#settings = text;
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
