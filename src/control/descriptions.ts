/** Runs in snapctr. What the operations on functions take and tell. */
import type { ReceivedPackage } from '../packages/store.ts';
import type {
  AliasRecord,
  ContainerCode,
  FunctionRecord,
  FunctionSettings,
  LatestName,
  PolicyStatement,
  Reason,
  VersionRecord,
} from '../registry/records.ts';

/** A version as it is asked for by a name and a qualifier. */
export interface FunctionDescription {
  /** All that is kept of the function: tags, concurrency, aliases, policies. */
  readonly function: FunctionRecord;
  readonly version: number | LatestName;
  /** What the version is, or is becoming. */
  readonly record: VersionRecord;
  /** `Active`: requests get an answer, perhaps that of the version before. */
  readonly state: 'Pending' | 'Active' | 'Failed';
  /** Null for an active one. */
  readonly stateReason: Reason | null;
  readonly lastUpdateStatus: 'InProgress' | 'Successful' | 'Failed';
  /** Null for a successful one. */
  readonly lastUpdateReason: Reason | null;
}

/** A version of a layer, as functions name it. */
export interface LayerReference {
  readonly name: string;
  readonly version: number;
}

/** What a caller can set. Values are in their bounds; whether they fit to what is there is looked at here. */
export interface SettingsInput extends Omit<FunctionSettings, 'layers'> {
  readonly layers: readonly LayerReference[];
}

export interface CreateInput {
  /** `[a-zA-Z0-9-_]{1,64}` */
  readonly name: string;
  readonly settings: SettingsInput;
  /** Is kept, or left to the caller to discard if the operation fails. */
  readonly code: ReceivedPackage | ContainerCode;
  readonly publish: boolean;
  readonly tags: Readonly<Record<string, string>>;
}

export interface UpdateCodeInput {
  /** As for `CreateInput`. */
  readonly code: ReceivedPackage | ContainerCode;
  readonly publish: boolean;
  /** Everything is looked at, nothing is changed; the answer tells what would be. */
  readonly dryRun: boolean;
  /** Of the version that the caller knows; null: whichever. */
  readonly revisionId: string | null;
}

/** Members that are absent stay as they are; `remembered` is merged member by member. */
export interface UpdateConfigurationInput {
  readonly settings: Partial<SettingsInput>;
  readonly revisionId: string | null;
}

export interface PublishInput {
  /** In base64; null: whichever. */
  readonly codeSha256: string | null;
  /** Null: that of `$LATEST`. */
  readonly description: string | null;
  readonly revisionId: string | null;
}

export type AliasInput = Omit<AliasRecord, 'revisionId'>;

export interface UpdateAliasInput extends Partial<Omit<AliasInput, 'name'>> {
  readonly revisionId: string | null;
}

export interface PermissionInput {
  /** Null: of the function itself. */
  readonly qualifier: string | null;
  readonly statement: PolicyStatement;
  /** Of the policy that the caller knows; null: whichever. */
  readonly revisionId: string | null;
}

/** How much of the account is used. */
export interface AccountUsage {
  readonly functionCount: number;
  /** Bytes of all packages. */
  readonly codeBytes: number;
  /** Reserved by functions, all together. */
  readonly reservedConcurrency: number;
}
