/**
 * Runs in snapctr. The operations on functions that were made over the API:
 *
 * ```
 *   operation ──▶ record, checked ──put──▶ on disk ──▶ answer
 *                                            └──▶ Deployments ──▶ FunctionRegistry ──▶ VMs, snapshots
 *                                                     └── outcome ──▶ record
 * ```
 *
 * An operation is answered when its record is on disk; those on one function are done one after the other. Functions of the YAML
 * files are none of these: their files are edited instead.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { functionArn, LATEST, type LambdaAccount } from '../protocol/arn.ts';
import { messageOf } from '../protocol/errors.ts';
import { Turns } from '../protocol/turns.ts';
import type { PackageStore, ReceivedPackage } from '../packages/store.ts';
import type { Build, DeploymentOutcome, Deployments } from '../registry/deployments.ts';
import type { FunctionRegistry, RegisteredSettings } from '../registry/function-registry.ts';
import type { ProvisionedState } from '../registry/provisioning.ts';
import type { RecordBucket } from '../registry/record-store.ts';
import {
  deadLettersOf,
  newest,
  packagesOf,
  type AliasRecord,
  type CodeRecord,
  type ContainerCode,
  type EventInvokeRecord,
  type EventSourceRecord,
  type FunctionRecord,
  type LayerUse,
  type PolicyRecord,
  type VersionRecord,
  type Reason,
} from '../registry/records.ts';
import * as aliases from './alias-changes.ts';
import * as changes from './changes.ts';
import * as eventSources from './event-source-changes.ts';
import { ControlError, hostFailed } from './control-error.ts';
import { describe } from './describe.ts';
import type * as shapes from './descriptions.ts';
import { reasonOf } from './failure-reason.ts';
import { configOf, type Host } from './function-config.ts';
import * as provisioning from './provisioning.ts';
import * as schedules from './schedule-changes.ts';
import * as urls from './url-changes.ts';

/** So many functions are dealt with at once; then the event loop has its turn. */
const AT_ONCE = 50;
/** Has turns as functions have; it is no name of one. */
const ALL_SCHEDULES = '*';
const ALL_EVENT_SOURCES = '**';

export interface FunctionControlOptions {
  readonly records: RecordBucket<FunctionRecord>;
  readonly packages: PackageStore;
  readonly registry: FunctionRegistry;
  readonly deployments: Deployments;
  /** Called for each deployment, and once for all that a restart brings back: what several of them name is made ready once. */
  readonly createBuild: () => Build;
  readonly runtimefsDirectory: string;
  /** Functions run in virtual machines: what is no program of the host's can be run. */
  readonly hasVms: boolean;
  readonly account: LambdaAccount;
  /** Of all VMs together, in MiB. */
  readonly memoryMib: number;
  /** What has become of the VMs that are kept for a qualifier. */
  readonly provisionedState: (name: string, qualifier: string) => ProvisionedState;
  /** The file that a function is to be changed in; null: it is no function of a file. */
  readonly fileOf: (name: string) => string | null;
  /** @throws ControlError `invalid` if there is no such version of a layer. */
  readonly layerOf: (reference: shapes.LayerReference) => LayerUse;
  readonly onProblem: (name: string, message: string) => void;
}

export class FunctionControl {
  readonly #options: FunctionControlOptions;
  readonly #host: Host;
  readonly #records = new Map<string, FunctionRecord>();
  /** Why a record cannot be used, by name. */
  readonly #damaged = new Map<string, string>();
  readonly #turns = new Turns<string>();
  /** What answered before a restart: until it does again, nothing takes its place. */
  readonly #restoring = new Map<string, Promise<unknown>>();

  private constructor(options: FunctionControlOptions) {
    const { memoryMib, hasVms, packages, runtimefsDirectory } = options;
    this.#options = options;
    this.#host = { memoryMib, hasVms, runtimefsDirectory, packagePath: (sha256) => packages.pathOf(sha256) };
  }

  /** Resolves when all functions that are kept can be asked for; they are deployed from then on. */
  static async open(options: FunctionControlOptions): Promise<FunctionControl> {
    const control = new FunctionControl(options);
    const { records, damaged } = await options.records.load();
    for (const { name, problem } of damaged) {
      control.#damaged.set(name, problem);
      options.registry.fail(name, [problem]);
      options.onProblem(name, problem);
    }
    const build = options.createBuild();
    for (const [index, record] of records.entries()) {
      await control.#remember(record);
      control.#restore(record, build);
      if (index % AT_ONCE === 0) await nextTurn();
    }
    return control;
  }

  /** Resolves when no operation is under way. */
  idle(): Promise<void> {
    return this.#turns.idle();
  }

  /** What is kept of a function; undefined: there is none, it is one of the YAML files, or its record is damaged. */
  find(name: string): FunctionRecord | undefined {
    return this.#records.get(name);
  }

  /** Whether the name is that of a function made over the API, damaged or not. */
  has(name: string): boolean {
    return this.#records.has(name) || this.#damaged.has(name);
  }

  /**
   * @param qualifier null, `$LATEST`, a number or an alias.
   * @throws ControlError `not_found`
   */
  describe(name: string, qualifier: string | null): shapes.FunctionDescription {
    const arn = this.#arnOf(name);
    const record = this.#recordOf(name, qualifier);
    return describe(record, this.#options.registry.get(name), qualifier, arn);
  }

  /** `$LATEST` first, then by number. @throws ControlError `not_found` */
  versions(name: string): readonly shapes.FunctionDescription[] {
    const { published } = this.#recordOf(name);
    return [null, ...published.map(({ number }) => String(number))].map((version) => this.describe(name, version));
  }

  /** Resolves when the function is kept; it is deployed from then on. @throws ControlError; then nothing is kept. */
  create(input: shapes.CreateInput): Promise<shapes.FunctionDescription> {
    const { name, code, settings, publish } = input;
    return this.#turns.take(name, async () => {
      this.#checkFree(name);
      if ('image' in code) this.#checkContainers();
      aliases.checkTags(input.tags);
      const layers = settings.layers.map(this.#options.layerOf);
      const record = changes.created(input, layers, codeOf(code));
      configOf(name, newest(record), null, this.#host);
      await this.#putWanted(record, code);
      void this.#deploy(record);
      return this.describe(name, publish ? '1' : null);
    });
  }

  /** @throws ControlError; then nothing is changed. */
  updateCode(name: string, input: shapes.UpdateCodeInput): Promise<shapes.FunctionDescription> {
    const { code, dryRun, publish, revisionId } = input;
    return this.#turns.take(name, async () => {
      const before = this.#recordOf(name);
      this.#checkChange(before, revisionId);
      changes.checkPackageType(before, 'image' in code ? 'Image' : 'Zip');
      const record = changes.codeUpdated(before, codeOf(code), publish);
      const qualifier = publish ? String(record.lastNumber) : null;
      if (dryRun) return describe(record, this.#options.registry.get(name), qualifier, this.#arnOf(name));
      await this.#putWanted(record, code);
      void this.#deploy(record);
      return this.describe(name, qualifier);
    });
  }

  /** @throws ControlError; then nothing is changed. */
  updateConfiguration(name: string, input: shapes.UpdateConfigurationInput): Promise<shapes.FunctionDescription> {
    return this.#turns.take(name, async () => {
      const before = this.#recordOf(name);
      this.#checkChange(before, input.revisionId);
      const layers = input.settings.layers?.map(this.#options.layerOf) ?? null;
      const record = changes.configurationUpdated(before, input, layers);
      configOf(name, newest(record), null, this.#host);
      await this.#putWanted(record, null);
      void this.#deploy(record);
      return this.describe(name, null);
    });
  }

  /** The function with all of its versions; what is damaged is set aside. @throws ControlError */
  delete(name: string): Promise<void> {
    return this.#turns.take(name, async () => {
      const record = this.#damaged.has(name) ? undefined : this.#recordOf(name);
      await hostFailed(() => this.#options.records.delete(name));
      this.#records.delete(name);
      this.#damaged.delete(name);
      this.#options.deployments.remove(name);
      if (record !== undefined) await this.#release(record);
    });
  }

  /** One that is not there is deleted already. @throws ControlError `conflict` if an alias leads to it; `invalid` */
  async deleteVersion(name: string, version: string): Promise<void> {
    await this.#change(name, (record, arn) => changes.versionDeleted(record, version, arn));
    this.#options.deployments.removeVersion(name, version);
  }

  /** @throws ControlError */
  publish(name: string, input: shapes.PublishInput): Promise<shapes.FunctionDescription> {
    return this.#turns.take(name, async () => {
      const { record, version, isNew } = changes.published(this.#recordOf(name), input, this.#arnOf(name));
      if (isNew) {
        await this.#put(record);
        void this.#deployVersion(name, version, version.number);
      }
      return this.describe(name, String(version.number));
    });
  }

  /** @throws ControlError `not_found` */
  alias(name: string, alias: string): AliasRecord {
    return aliases.aliasOf(this.#recordOf(name), alias, this.#arnOf(name));
  }

  /** @throws ControlError */
  async createAlias(name: string, input: shapes.AliasInput): Promise<AliasRecord> {
    await this.#change(name, (record, arn) => aliases.aliasCreated(record, input, arn));
    return this.alias(name, input.name);
  }

  /** @throws ControlError */
  async updateAlias(name: string, alias: string, input: shapes.UpdateAliasInput): Promise<AliasRecord> {
    const after = await this.#change(name, (record, arn) => {
      const changed = aliases.aliasUpdated(record, alias, input, arn);
      this.#checkProvisioned(record, changed);
      return changed;
    });
    return aliases.aliasOf(after, alias, this.#arnOf(name));
  }

  /** One that is not there is deleted already. @throws ControlError */
  async deleteAlias(name: string, alias: string): Promise<void> {
    await this.#change(name, (record) => aliases.aliasDeleted(record, alias));
  }

  /** @throws ControlError */
  async tag(name: string, tags: Readonly<Record<string, string>>): Promise<void> {
    await this.#change(name, (record) => aliases.tagged(record, tags));
  }

  /** @throws ControlError */
  async untag(name: string, keys: readonly string[]): Promise<void> {
    await this.#change(name, (record) => aliases.untagged(record, keys));
  }

  /** @param most VMs at once; 0: it cannot be invoked; null: as many as memory allows. @throws ControlError */
  async setReservedConcurrency(name: string, most: number | null): Promise<void> {
    await this.#change(name, (record) => provisioning.reserved(record, most));
  }

  /** Null: nobody was given any. @throws ControlError `not_found` */
  policy(name: string, qualifier: string | null): PolicyRecord | null {
    return aliases.policyOf(this.#recordOf(name, qualifier), qualifier, this.#arnOf(name));
  }

  /** @throws ControlError */
  async addPermission(name: string, input: shapes.PermissionInput): Promise<void> {
    await this.#change(name, (record, arn) => aliases.permissionAdded(record, input, arn));
  }

  /** @param revisionId of the policy; null: whichever. @throws ControlError */
  async removePermission(
    name: string,
    qualifier: string | null,
    sid: string,
    revisionId: string | null,
  ): Promise<void> {
    await this.#change(name, (record, arn) => aliases.permissionRemoved(record, qualifier, sid, revisionId, arn));
  }

  /** @param qualifier a number or an alias. @throws ControlError */
  async setProvisionedConcurrency(name: string, qualifier: string, requested: number): Promise<void> {
    await this.#change(name, (record, arn) => {
      const after = provisioning.provisioned(record, qualifier, requested, arn);
      this.#checkProvisioned(record, after);
      return after;
    });
  }

  /** What has become of the VMs that are kept for a qualifier; there must be some. */
  provisionedState(name: string, qualifier: string): ProvisionedState {
    return this.#options.provisionedState(name, qualifier);
  }

  /** @throws ControlError */
  async deleteProvisionedConcurrency(name: string, qualifier: string): Promise<void> {
    await this.#change(name, (record) => provisioning.unprovisioned(record, qualifier));
  }

  /** @param qualifier an alias; null: `$LATEST`. @throws ControlError */
  async createUrl(name: string, qualifier: string | null, settings: urls.UrlSettings): Promise<void> {
    await this.#change(name, (record, arn) => urls.urlCreated(record, qualifier, settings, arn));
  }

  /** @throws ControlError */
  async updateUrl(name: string, qualifier: string | null, change: Partial<urls.UrlSettings>): Promise<void> {
    await this.#change(name, (record) => urls.urlUpdated(record, qualifier, change));
  }

  /** @throws ControlError */
  async deleteUrl(name: string, qualifier: string | null): Promise<void> {
    await this.#change(name, (record) => urls.urlDeleted(record, qualifier));
  }

  /** @param qualifier `$LATEST`, a number or an alias. @param entry null: it goes. @throws ControlError */
  async setEventInvoke(name: string, qualifier: string, entry: EventInvokeRecord | null): Promise<void> {
    await this.#change(name, (record, arn) => aliases.eventInvokeSet(record, qualifier, entry, arn));
  }

  /** One of that name is replaced. @throws ControlError */
  async setSchedule(name: string, schedule: string, settings: schedules.ScheduleSettings): Promise<void> {
    // One after the other, whatever function they are of: they are counted.
    await this.#turns.take(ALL_SCHEDULES, () =>
      this.#change(name, (record, arn) => {
        const after = schedules.scheduleSet(record, schedule, settings, arn, new Date().toISOString());
        schedules.checkScheduleCount(record, after, this.#options.registry.scheduleCount);
        return after;
      }),
    );
  }

  /** @throws ControlError */
  async removeSchedule(name: string, schedule: string): Promise<void> {
    await this.#change(name, (record) => schedules.scheduleRemoved(record, schedule));
  }

  /** @throws ControlError */
  async addEventSource(name: string, id: string, source: EventSourceRecord): Promise<void> {
    // One after the other, whatever function they are of: they are counted.
    await this.#turns.take(ALL_EVENT_SOURCES, () =>
      this.#change(name, (record, arn) =>
        eventSources.eventSourceAdded(record, id, source, arn, this.#options.registry.eventSourceCount),
      ),
    );
  }

  /** @throws ControlError */
  async changeEventSource(name: string, id: string, change: Partial<EventSourceRecord>): Promise<void> {
    const now = new Date().toISOString();
    await this.#change(name, (record) => eventSources.eventSourceChanged(record, id, change, now));
  }

  /** @throws ControlError */
  async removeEventSource(name: string, id: string): Promise<void> {
    await this.#change(name, (record) => eventSources.eventSourceRemoved(record, id));
  }

  usage(): shapes.AccountUsage {
    let reservedConcurrency = 0;
    for (const record of this.#records.values()) reservedConcurrency += record.reservedConcurrency ?? 0;
    const { registry, packages } = this.#options;
    return { functionCount: registry.size, codeBytes: packages.usedBytes, reservedConcurrency };
  }

  #arnOf(name: string): string {
    return functionArn(this.#options.account, name);
  }

  /** @throws ControlError */
  #recordOf(name: string, qualifier: string | null = null): FunctionRecord {
    const record = this.#records.get(name);
    if (record !== undefined) return record;
    const file = this.#options.fileOf(name);
    if (file !== null) {
      throw new ControlError('conflict', `The function ${name} is one of the file ${file}; change it there.`);
    }
    const problem = this.#damaged.get(name);
    if (problem !== undefined) {
      throw new ControlError('conflict', `${problem}; delete the function, and create it again`);
    }
    const suffix = qualifier === null ? '' : `:${qualifier}`;
    throw new ControlError('not_found', `Function not found: ${this.#arnOf(name)}${suffix}`);
  }

  /** @throws ControlError `invalid` */
  #checkContainers(): void {
    if (this.#options.hasVms) return;
    const message = 'container images run in virtual machines only, which --vmm process has none of; send a zip file';
    throw new ControlError('invalid', message);
  }

  /** @throws ControlError `conflict` */
  #checkFree(name: string): void {
    const file = this.#options.fileOf(name);
    const whose = file === null ? '' : `; it is one of the file ${file}`;
    if (this.#records.has(name) || this.#damaged.has(name) || file !== null) {
      throw new ControlError('conflict', `Function already exist: ${name}${whose}`);
    }
  }

  /** @throws ControlError */
  #checkChange(record: FunctionRecord, revisionId: string | null): void {
    changes.checkIdle(record, this.#arnOf(record.name));
    changes.checkRevision(revisionId, newest(record).revisionId);
  }

  /** @throws ControlError `invalid` if its VMs would leave too little to others. */
  #checkProvisioned(before: FunctionRecord, after: FunctionRecord): void {
    const { memoryMib, registry } = this.#options;
    const others = [...this.#records.values()].filter(({ name }) => name !== before.name);
    provisioning.checkRoom({ before, after, others, versions: registry.versions(), memoryMib });
  }

  #change(name: string, change: (record: FunctionRecord, arn: string) => FunctionRecord): Promise<FunctionRecord> {
    return this.#turns.take(name, async () => {
      const after = change(this.#recordOf(name), this.#arnOf(name));
      await this.#put(after);
      return after;
    });
  }

  /**
   * Puts a record with what is to be deployed. A package that is not needed after all is left to the caller, or removed.
   *
   * @param code null: it is that of before.
   * @throws ControlError `host_failed`; then the record of before is kept.
   */
  async #putWanted(record: FunctionRecord, code: ReceivedPackage | ContainerCode | null): Promise<void> {
    const { packages } = this.#options;
    const received = code === null || 'image' in code ? null : code;
    // At once: a layer that was there just now may be deleted while the record is written.
    const held = newest(record).settings.layers.map(({ code: { sha256 } }) => sha256);
    for (const sha256 of held) packages.hold(sha256);
    try {
      if (received !== null) {
        await hostFailed(() => received.keep());
        held.push(received.sha256);
      }
      await this.#put(record);
    } finally {
      for (const sha256 of held) await packages.release(sha256);
    }
  }

  /** @throws ControlError `host_failed`; then the record of before is kept. */
  async #put(record: FunctionRecord): Promise<void> {
    await hostFailed(() => this.#options.records.put(record));
    await this.#remember(record);
  }

  /** What is in memory is what runs, at once. Resolves when packages that are not needed any more are gone. */
  async #remember(record: FunctionRecord): Promise<void> {
    const { name } = record;
    const { packages, registry } = this.#options;
    const before = this.#records.get(name);
    this.#records.set(name, record);
    for (const sha256 of packagesOf(record)) packages.hold(sha256);
    const settings = changedSettings(record, before, registry.get(name)?.deadLetters ?? {});
    if (before === undefined || Object.keys(settings).length > 0) registry.configure(name, settings);
    if (before !== undefined) await this.#release(before);
  }

  async #release(record: FunctionRecord): Promise<void> {
    for (const sha256 of packagesOf(record)) await this.#options.packages.release(sha256);
  }

  /** After a restart: what answered answers again, and what was under way is taken up. */
  #restore(record: FunctionRecord, build: Build): void {
    const { name, latest, wanted, published } = record;
    if (latest !== null) {
      const restored = this.#deployVersion(name, latest, null, build).finally(() => this.#restoring.delete(name));
      this.#restoring.set(name, restored);
    }
    for (const version of published) void this.#deployVersion(name, version, version.number, build);
    if (wanted?.update.status === 'InProgress') void this.#deploy(record);
    else if (latest === null && wanted !== null) this.#options.registry.fail(name, [wanted.update.reason.message]);
  }

  async #deployVersion(
    name: string,
    version: VersionRecord,
    number: number | null,
    build = this.#options.createBuild(),
  ): Promise<void> {
    const outcome = await this.#bring(name, version, number, build);
    if (outcome.status === 'failed') this.#options.onProblem(name, messageOf(outcome.error));
  }

  /** What a record says may be more than this release has, such as a runtime. */
  async #bring(name: string, version: VersionRecord, number: number | null, build: Build): Promise<DeploymentOutcome> {
    const { deployments, registry } = this.#options;
    try {
      return await deployments.deploy(configOf(name, version, number, this.#host), build);
    } catch (error) {
      registry.fail(name, [messageOf(error)], number === null ? LATEST : String(number));
      return { status: 'failed', error };
    }
  }

  /** What is the host's fault is told in its log, with all that the caller need not know. */
  #reasonOf(name: string, error: unknown): Reason {
    const reason = reasonOf(error);
    if (reason.code === 'InternalError') this.#options.onProblem(name, messageOf(error));
    return reason;
  }

  /** Brings what is wanted to where requests get it, and keeps how that ended. */
  async #deploy({ name, wanted }: FunctionRecord): Promise<void> {
    if (wanted === null) return;
    const restored = this.#restoring.get(name);
    if (restored !== undefined) await restored;
    if (this.#records.get(name)?.wanted?.revisionId !== wanted.revisionId) return;
    const outcome = await this.#bring(name, wanted, null, this.#options.createBuild());
    if (outcome.status === 'called_off') return;
    await this.#turns.take(name, async () => {
      const before = this.#records.get(name);
      if (before?.wanted?.revisionId !== wanted.revisionId) return;
      const after =
        outcome.status === 'deployed'
          ? changes.deployed(before)
          : changes.failed(before, { status: 'Failed', reason: this.#reasonOf(name, outcome.error) });
      await this.#settle(after);
      const number = outcome.status === 'deployed' ? before.publishing : null;
      const version = after.published.find((one) => one.number === number);
      if (version !== undefined) void this.#deployVersion(name, version, version.number);
    });
  }

  /** How a deployment ended holds also if it cannot be written: after a crash it is taken up again, and ends the same. */
  async #settle(record: FunctionRecord): Promise<void> {
    try {
      await this.#put(record);
    } catch (error) {
      await this.#remember(record);
      this.#options.onProblem(record.name, `how its deployment ended could not be kept: ${messageOf(error)}`);
    }
  }
}

/** What a change of the record sets otherwise; of a new one, what it has. */
function changedSettings(
  record: FunctionRecord,
  before: FunctionRecord | undefined,
  deadLettersBefore: RegisteredSettings['deadLetters'],
): Partial<RegisteredSettings> {
  const deadLetters = deadLettersOf(record);
  const isOther = (key: keyof FunctionRecord): boolean => {
    const value = record[key] ?? {};
    return before === undefined ? Object.keys(value).length > 0 : before[key] !== record[key];
  };
  return {
    ...(isOther('aliases') && { aliases: record.aliases }),
    ...(isOther('urls') && { urls: urls.urlsOf(record) }),
    ...(isOther('schedules') && { schedules: schedules.schedulesOf(record) }),
    ...(isOther('eventSources') && { eventSources: eventSources.eventSourcesOf(record) }),
    ...(isOther('eventInvoke') && { eventInvoke: record.eventInvoke ?? {} }),
    ...(isOther('provisioned') && { provisioned: provisioning.requestedByQualifier(record) }),
    ...(before?.reservedConcurrency !== record.reservedConcurrency && { concurrencyLimit: record.reservedConcurrency }),
    ...(JSON.stringify(deadLetters) !== JSON.stringify(deadLettersBefore) && { deadLetters }),
  };
}

function codeOf(code: ReceivedPackage | ContainerCode): CodeRecord {
  return 'image' in code ? code : { sha256: code.sha256, bytes: code.bytes };
}
