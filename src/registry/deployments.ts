/**
 * Runs in snapctr. Brings functions, as their source describes them, to where requests get them:
 *
 * ```
 *   queued ──turn──▶ building ──files ready──▶ snapshotting ──snapshot there──▶ published
 *      │                │                          │  only where a version answers already
 *      └────────────────┴──────────────────────────┴──▶ failed: the version before goes on answering
 * ```
 *
 * A newer description of a function calls off what is being done for an older one.
 */
import { untilAborted } from '../protocol/abort.ts';
import { LATEST } from '../protocol/arn.ts';
import { messageOf } from '../protocol/errors.ts';
import { isSameVersion, type FunctionConfig, type FunctionVersion } from './function-version.ts';
import type { FunctionRegistry } from './function-registry.ts';

/** So many deployments follow each other; then the event loop has its turn. */
const HANDED_ON_AT_ONCE = 20;

/**
 * Makes a function's files ready for the VMM.
 *
 * @throws Error with what is wrong, and what to change.
 */
export type Build = (config: FunctionConfig, signal: AbortSignal) => Promise<FunctionVersion>;

export interface DeploymentsOptions {
  readonly registry: FunctionRegistry;
  /**
   * Has the version's snapshot made, and finds out whether it loads. Resolves when its VMs can be restored, or will be booted.
   * @throws Error if its code does not load, or nobody can tell.
   */
  readonly prepare: (version: FunctionVersion) => Promise<void>;
  /** A version that was prepared is not going to be published. */
  readonly discard: (version: FunctionVersion) => void;
  /** Deployments that are worked on at the same time. */
  readonly atOnce: number;
}

/** `called_off`: by a newer one, or because the function was removed. */
export type DeploymentOutcome =
  | { readonly status: 'deployed' }
  | { readonly status: 'failed'; readonly error: unknown }
  | { readonly status: 'called_off' };

/** `queued`: others come first. `snapshotting`: a snapshot is made and tried, or the code loaded where there are none. */
export type DeploymentStep = 'queued' | 'building' | 'snapshotting';

export interface DeploymentProgress {
  readonly step: DeploymentStep;
  /** When the step began, in ms since 1970. */
  readonly since: number;
}

interface Deployment {
  readonly calledOff: AbortController;
  progress: DeploymentProgress;
  readonly settled: Promise<DeploymentOutcome>;
}

export class Deployments {
  readonly #options: DeploymentsOptions;
  /** By function and version. */
  readonly #underWay = new Map<string, Map<string, Deployment>>();
  /** Each begins the work of a deployment that waits for its turn. */
  readonly #queue: (() => void)[] = [];
  /** A deployment has come to its next step. */
  onProgress: (name: string) => void = () => undefined;
  #running = 0;
  #handedOn = 0;

  constructor(options: DeploymentsOptions) {
    this.#options = options;
  }

  /** Resolves when it was published, has failed, or was called off. */
  deploy(config: FunctionConfig, build: Build): Promise<DeploymentOutcome> {
    const { name, version } = config;
    this.#callOff(name, version);
    this.#options.registry.deploying(name, version);
    const calledOff = new AbortController();
    const deployment: Deployment = {
      ...{ calledOff, progress: { step: 'queued', since: Date.now() } },
      settled: this.#deploy(config, build, calledOff.signal, (step) => {
        deployment.progress = { step, since: Date.now() };
        this.onProgress(name);
      }).finally(() => {
        if (this.#underWay.get(name)?.get(version) === deployment) this.#forget(name, version);
      }),
    };
    const ofFunction = this.#underWay.get(name) ?? new Map<string, Deployment>();
    this.#underWay.set(name, ofFunction.set(version, deployment));
    return deployment.settled;
  }

  /** How far its versions are that are being deployed, by number; empty: none is. */
  progressOf(name: string): ReadonlyMap<string, DeploymentProgress> {
    const ofFunction = this.#underWay.get(name) ?? new Map<string, Deployment>();
    return new Map([...ofFunction].map(([version, { progress }]) => [version, progress]));
  }

  /** The function's description cannot be used; what answers goes on. */
  refuse(name: string, problems: readonly string[]): void {
    this.#callOff(name, LATEST);
    this.#options.registry.fail(name, problems);
  }

  /** With all of its versions. */
  remove(name: string): void {
    for (const version of [...(this.#underWay.get(name)?.keys() ?? [])]) this.#callOff(name, version);
    this.#options.registry.remove(name);
  }

  /** @param version its number. */
  removeVersion(name: string, version: string): void {
    this.#callOff(name, version);
    this.#options.registry.removeVersion(name, version);
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) {
      const all = [...this.#underWay.values()].flatMap((ofFunction) => [...ofFunction.values()]);
      await Promise.all(all.map(({ settled }) => settled));
    }
  }

  close(): void {
    for (const [name, ofFunction] of [...this.#underWay]) {
      for (const version of [...ofFunction.keys()]) this.#callOff(name, version);
    }
  }

  #callOff(name: string, version: string): void {
    const deployment = this.#underWay.get(name)?.get(version);
    deployment?.calledOff.abort(new Error('a newer deployment has taken its place'));
    this.#forget(name, version);
  }

  #forget(name: string, version: string): void {
    const ofFunction = this.#underWay.get(name);
    ofFunction?.delete(version);
    if (ofFunction?.size === 0) this.#underWay.delete(name);
  }

  async #deploy(
    config: FunctionConfig,
    build: Build,
    signal: AbortSignal,
    begin: (step: DeploymentStep) => void,
  ): Promise<DeploymentOutcome> {
    await this.#turn();
    try {
      if (!signal.aborted) await this.#make(config, build, signal, begin);
      return { status: signal.aborted ? 'called_off' : 'deployed' };
    } catch (error) {
      if (signal.aborted) return { status: 'called_off' };
      this.#options.registry.fail(config.name, [messageOf(error)], config.version);
      return { status: 'failed', error };
    } finally {
      const next = this.#queue.shift();
      // A turn is handed on as it is. Where nothing is to be built, thousands would follow each other at once.
      if (next === undefined) this.#running -= 1;
      else if ((this.#handedOn += 1) % HANDED_ON_AT_ONCE === 0) setImmediate(next);
      else next();
    }
  }

  async #turn(): Promise<void> {
    if (this.#running < this.#options.atOnce) this.#running += 1;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
  }

  async #make(
    config: FunctionConfig,
    build: Build,
    signal: AbortSignal,
    begin: (step: DeploymentStep) => void,
  ): Promise<void> {
    const { registry, prepare, discard } = this.#options;
    begin('building');
    const version = await untilAborted(build(config, signal), signal);
    const fn = registry.get(config.name);
    const before = (config.version === LATEST ? fn : fn?.published.get(config.version))?.latest ?? null;
    if (before === null) return registry.publish(version);
    if (isSameVersion(before, version)) return registry.keep(config.name, config.version);
    begin('snapshotting');
    try {
      await untilAborted(prepare(version), signal);
    } catch (error) {
      discard(version);
      throw error;
    }
    registry.publish(version);
  }
}
