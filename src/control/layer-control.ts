/**
 * Runs in snapctr. The operations on layers: zip archives with numbered versions, which functions name. A version may be deleted
 * while functions use it: they hold its package, see `LayerUse`.
 */
import { PARTITION, type LambdaAccount } from '../protocol/arn.ts';
import { Turns } from '../protocol/turns.ts';
import type { PackageStore, ReceivedPackage } from '../packages/store.ts';
import type { RecordBucket } from '../registry/record-store.ts';
import type { LayerRecord, LayerUse, LayerVersionRecord, PolicyRecord, PolicyStatement } from '../registry/records.ts';
import { checkRevision, newRevisionId } from './changes.ts';
import { ControlError, hostFailed } from './control-error.ts';
import type { LayerReference } from './descriptions.ts';

export interface LayerControlOptions {
  readonly records: RecordBucket<LayerRecord>;
  readonly packages: PackageStore;
  readonly account: LambdaAccount;
  readonly onProblem: (name: string, message: string) => void;
}

export interface PublishLayerInput {
  /** `[a-zA-Z0-9-_]{1,140}` */
  readonly name: string;
  /** Is kept, or left to the caller to discard if the operation fails. */
  readonly code: ReceivedPackage;
  readonly description: string;
  readonly licenseInfo: string | null;
  readonly compatibleRuntimes: readonly string[];
  readonly compatibleArchitectures: readonly string[];
}

export class LayerControl {
  readonly #options: LayerControlOptions;
  readonly #records = new Map<string, LayerRecord>();
  readonly #damaged = new Map<string, string>();
  readonly #turns = new Turns<string>();

  private constructor(options: LayerControlOptions) {
    this.#options = options;
  }

  static async open(options: LayerControlOptions): Promise<LayerControl> {
    const control = new LayerControl(options);
    const { records, damaged } = await options.records.load();
    for (const { name, problem } of damaged) {
      control.#damaged.set(name, problem);
      options.onProblem(name, problem);
    }
    for (const record of records) await control.#remember(record);
    return control;
  }

  /** Resolves when no operation is under way. */
  idle(): Promise<void> {
    return this.#turns.idle();
  }

  /** Layers that have a version, by name. */
  list(): readonly LayerRecord[] {
    const layers = [...this.#records.values()].filter(({ versions }) => versions.length > 0);
    return layers.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** By number, ascending; none for a name that nobody has used. */
  versions(name: string): readonly LayerVersionRecord[] {
    return this.#records.get(name)?.versions ?? [];
  }

  /** @throws ControlError `not_found` */
  version({ name, version }: LayerReference): LayerVersionRecord {
    const found = this.versions(name).find((one) => one.version === version);
    if (found === undefined) throw new ControlError('not_found', 'The resource you requested does not exist.');
    return found;
  }

  /** What a function keeps of it. @throws ControlError `invalid` */
  useOf({ name, version }: LayerReference): LayerUse {
    const found = this.versions(name).find((one) => one.version === version);
    if (found === undefined) {
      throw new ControlError('invalid', `Layer version ${this.arnOf(name)}:${version} does not exist.`);
    }
    return { name, version, code: found.code };
  }

  /** Resolves when the version is kept. @throws ControlError; then nothing is kept. */
  publish(input: PublishLayerInput): Promise<LayerVersionRecord> {
    const { name, code, description, licenseInfo, compatibleRuntimes, compatibleArchitectures } = input;
    return this.#turns.take(name, async () => {
      const problem = this.#damaged.get(name);
      if (problem !== undefined) throw new ControlError('conflict', `${problem}; publish it under another name`);
      const before = this.#records.get(name) ?? { name, versions: [], lastVersion: 0 };
      const version: LayerVersionRecord = {
        version: before.lastVersion + 1,
        code: { sha256: code.sha256, bytes: code.bytes },
        description,
        licenseInfo,
        compatibleRuntimes,
        compatibleArchitectures,
        created: new Date().toISOString(),
        policy: null,
      };
      await hostFailed(() => code.keep());
      try {
        await this.#put({ name, versions: [...before.versions, version], lastVersion: version.version });
      } finally {
        await this.#options.packages.release(code.sha256);
      }
      return version;
    });
  }

  /** One that is not there is deleted already. Its number is not given again. @throws ControlError */
  delete({ name, version }: LayerReference): Promise<void> {
    return this.#turns.take(name, async () => {
      const before = this.#records.get(name);
      if (before?.versions.some((one) => one.version === version) !== true) return;
      await this.#put({ ...before, versions: before.versions.filter((one) => one.version !== version) });
    });
  }

  /** Null: nobody was given any. @throws ControlError `not_found` */
  policy(reference: LayerReference): PolicyRecord | null {
    return this.version(reference).policy;
  }

  /** @throws ControlError */
  addPermission(
    reference: LayerReference,
    statement: PolicyStatement,
    revisionId: string | null,
  ): Promise<PolicyRecord | null> {
    return this.#changePolicy(reference, revisionId, (statements) => {
      if (statements.some(({ sid }) => sid === statement.sid)) {
        throw new ControlError('conflict', `The statement id (${statement.sid}) provided already exists.`);
      }
      return [...statements, statement];
    });
  }

  /** @throws ControlError */
  async removePermission(reference: LayerReference, sid: string, revisionId: string | null): Promise<void> {
    await this.#changePolicy(reference, revisionId, (statements) => {
      const rest = statements.filter((one) => one.sid !== sid);
      if (rest.length < statements.length) return rest;
      throw new ControlError('not_found', `Statement ${sid} is not found in resource policy.`);
    });
  }

  /** Without a version. */
  arnOf(name: string): string {
    const { region, accountId } = this.#options.account;
    return `arn:${PARTITION}:lambda:${region}:${accountId}:layer:${name}`;
  }

  #changePolicy(
    reference: LayerReference,
    revisionId: string | null,
    change: (statements: readonly PolicyStatement[]) => readonly PolicyStatement[],
  ): Promise<PolicyRecord | null> {
    const { name } = reference;
    return this.#turns.take(name, async () => {
      const before = this.version(reference);
      if (revisionId !== null) checkRevision(revisionId, before.policy?.revisionId ?? '');
      const statements = change(before.policy?.statements ?? []);
      const policy = statements.length === 0 ? null : { statements, revisionId: newRevisionId() };
      const versions = this.versions(name).map((one) => (one === before ? { ...one, policy } : one));
      await this.#put({ name, versions, lastVersion: this.#records.get(name)?.lastVersion ?? 0 });
      return policy;
    });
  }

  /** @throws ControlError `host_failed` */
  async #put(record: LayerRecord): Promise<void> {
    await hostFailed(() => this.#options.records.put(record));
    await this.#remember(record);
  }

  async #remember(record: LayerRecord): Promise<void> {
    const { packages } = this.#options;
    const before = this.#records.get(record.name);
    this.#records.set(record.name, record);
    for (const { code } of record.versions) packages.hold(code.sha256);
    for (const { code } of before?.versions ?? []) await packages.release(code.sha256);
  }
}
