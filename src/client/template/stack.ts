/**
 * Runs in the commands of people. What a template asks of a controller: its functions, layers, versions, aliases and permissions, with
 * the words of SAM and those of CloudFormation made one. What is not made here is noted.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { functionArn, type LambdaAccount } from '../../protocol/arn.ts';
import type { QualifiedSetting } from '../qualified-settings.ts';
import type { NewSchedule } from '../schedules-client.ts';
import { eventSourceOf, schedulesOf, type TemplateEventSource } from './events.ts';
import { asText, type Given, Intrinsics, Unresolved, type Value } from './intrinsics.ts';
import type { Resource, Template } from './template-file.ts';

/** Files of a function or of a layer. */
export type Code =
  /** A directory or an archive. */
  | { readonly path: string }
  /** The text of the only file. */
  | { readonly text: string };

export interface TemplateFunction {
  readonly id: string;
  readonly name: string;
  readonly code: Code;
  readonly runtime: string | undefined;
  readonly handler: string | undefined;
  readonly description: string;
  readonly memory: number | undefined;
  readonly timeout: number | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly layers: readonly string[];
  readonly reservedConcurrency: number | undefined;
  readonly tags: Readonly<Record<string, string>>;
}

export interface TemplateLayer {
  readonly id: string;
  readonly name: string;
  readonly path: string;
  readonly members: Readonly<Record<string, unknown>>;
}

/** A version of what is deployed of a function. */
export interface TemplateVersion {
  readonly id: string;
  readonly functionName: string;
  readonly description: string | undefined;
}

export interface TemplateAlias {
  readonly id: string;
  readonly functionName: string;
  readonly name: string;
  readonly version: string;
  readonly weights: Readonly<Record<string, number>>;
  readonly description: string | undefined;
}

export interface TemplatePermission {
  readonly functionName: string;
  readonly qualifier: string | undefined;
  readonly members: Readonly<Record<string, unknown>>;
}

const FUNCTION = 'AWS::Lambda::Function';
const SAM_FUNCTION = 'AWS::Serverless::Function';
const LAYERS: ReadonlySet<string> = new Set(['AWS::Lambda::LayerVersion', 'AWS::Serverless::LayerVersion']);
const VERSION = 'AWS::Lambda::Version';
const ALIAS = 'AWS::Lambda::Alias';
const PERMISSION = 'AWS::Lambda::Permission';
const URL_CONFIG = 'AWS::Lambda::Url';
const EVENT_INVOKE_CONFIG = 'AWS::Lambda::EventInvokeConfig';
const EVENT_SOURCE = 'AWS::Lambda::EventSourceMapping';

/** Of a function: read, or without a meaning where there are no roles and no build of SAM's. */
const READ = new Set(
  'FunctionName Runtime Handler Code CodeUri InlineCode Description MemorySize Timeout Environment Layers Tags ReservedConcurrentExecutions PackageType Architectures AutoPublishAlias VersionDescription Role Policies AssumeRolePolicyDocument PermissionsBoundary RolePath PropagateTags AutoPublishAliasAllProperties AutoPublishCodeSha256 ProvisionedConcurrencyConfig FunctionUrlConfig EventInvokeConfig Events'.split(
    ' ',
  ),
);

export class Stack {
  readonly #template: Template;
  readonly #account: LambdaAccount;
  readonly #values: Intrinsics;
  /** What is known only when it was made: the ARNs of layers, the numbers of versions. By "ID" for `Ref`, "ID.Attribute". */
  readonly #made = new Map<string, string>();
  readonly #notes = new Set<string>();

  constructor(template: Template, given: Given, account: LambdaAccount) {
    this.#template = template;
    this.#account = account;
    this.#values = new Intrinsics(template, given, account, (id, attribute) => this.#lookup(id, attribute));
  }

  /** What is left out, in words for the user. */
  get notes(): readonly string[] {
    return [...this.#notes];
  }

  /** Tells what a resource has become, for those that refer to it. */
  made(id: string, reference: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.#made.set(id, reference);
    for (const [name, value] of Object.entries(attributes)) this.#made.set(`${id}.${name}`, value);
  }

  /** @throws ClientError at its place for what cannot be deployed, as all below. */
  layers(): readonly TemplateLayer[] {
    return this.#all((type) => LAYERS.has(type)).map(([id, resource]) => {
      const path = this.#codeOf(id, resource, 'ContentUri' in resource.properties ? 'ContentUri' : 'Content');
      if (!('path' in path)) return this.#refuse(id, 'Content', 'a layer needs a directory or an archive');
      const members = ['Description', 'LicenseInfo', 'CompatibleRuntimes', 'CompatibleArchitectures'].flatMap((key) => {
        const value = this.#property(id, resource, key);
        return value === undefined ? [] : [[key, value] as const];
      });
      const name = this.#text(id, resource, 'LayerName') ?? id;
      return { id, name, path: path.path, members: Object.fromEntries(members) };
    });
  }

  /** After the layers were made. */
  functions(): readonly TemplateFunction[] {
    this.#noteOthers();
    const functions = this.#all((type) => type === FUNCTION || type === SAM_FUNCTION);
    const all = functions.map(([id, resource]) => this.#function(id, resource));
    for (const [index, { id, name }] of all.entries()) {
      const other = all.findIndex((one) => one.name === name);
      if (other !== index) this.#refuse(id, 'FunctionName', `"${name}" is also the name of ${all[other]?.id ?? ''}`);
    }
    return all;
  }

  /** After the functions were. A function of SAM that publishes has one under "ID.Version". */
  versions(): readonly TemplateVersion[] {
    const written = this.#all((type) => type === VERSION).map(([id, resource]) => {
      const functionName = this.#functionName(id, resource).name;
      return { id, functionName, description: this.#text(id, resource, 'Description') };
    });
    const published = this.#publishing().map(([id, resource]) => {
      const description = this.#text(id, resource, 'VersionDescription');
      return { id: `${id}.Version`, functionName: this.#nameOf(id, resource), description };
    });
    return [...written, ...published];
  }

  /** After the versions were. */
  aliases(): readonly TemplateAlias[] {
    const written = this.#all((type) => type === ALIAS).map(([id, resource]) => {
      this.#noteProperties(id, resource, [
        'FunctionName',
        'FunctionVersion',
        'Name',
        'Description',
        'RoutingConfig',
        'ProvisionedConcurrencyConfig',
      ]);
      return {
        id,
        functionName: this.#functionName(id, resource).name,
        name: this.#needed(id, resource, 'Name'),
        version: this.#needed(id, resource, 'FunctionVersion'),
        weights: this.#weights(id, resource),
        description: this.#text(id, resource, 'Description'),
      };
    });
    const published = this.#publishing().map(([id, resource]) => ({
      id: `${id}.Alias`,
      functionName: this.#nameOf(id, resource),
      name: this.#needed(id, resource, 'AutoPublishAlias'),
      version: this.#made.get(`${id}.Version.Version`) ?? '',
      weights: {},
      description: undefined,
    }));
    return [...written, ...published];
  }

  /** After the aliases were made. */
  settings(): readonly QualifiedSetting[] {
    const written = this.#all((type) => type === URL_CONFIG || type === EVENT_INVOKE_CONFIG).map(([id, resource]) => {
      const place = this.#functionName(
        id,
        resource,
        resource.type === URL_CONFIG ? 'TargetFunctionArn' : 'FunctionName',
      );
      const kind = resource.type === URL_CONFIG ? 'url' : 'event-invoke-config';
      const qualifier = this.#text(id, resource, 'Qualifier') ?? place.qualifier;
      return this.#setting(id, kind, place.name, qualifier, resource.properties);
    });
    const aliases = this.#all((type) => type === ALIAS).map(([id, resource]) => {
      const { name } = this.#functionName(id, resource);
      const config = resource.properties['ProvisionedConcurrencyConfig'];
      return this.#setting(id, 'provisioned-concurrency', name, this.#needed(id, resource, 'Name'), config);
    });
    const sam = this.#all((type) => type === SAM_FUNCTION).flatMap(([id, resource]) => {
      const get = (key: string): unknown => resource.properties[key] ?? this.#inherited(resource)[key];
      const name = this.#nameOf(id, resource);
      // With SAM they belong to the alias that is published, if there is one.
      const qualifier = this.#text(id, resource, 'AutoPublishAlias');
      return [
        this.#setting(id, 'provisioned-concurrency', name, qualifier, get('ProvisionedConcurrencyConfig')),
        this.#setting(id, 'event-invoke-config', name, qualifier, get('EventInvokeConfig')),
        this.#setting(id, 'url', name, qualifier, get('FunctionUrlConfig')),
      ];
    });
    return [...written, ...aliases, ...sam].filter((setting) => setting !== null);
  }

  /** After the aliases were made: those of a function that publishes run what is published. */
  schedules(): readonly NewSchedule[] {
    return this.#all((type) => type === SAM_FUNCTION).flatMap(([id, resource]) => {
      const qualifier = this.#text(id, resource, 'AutoPublishAlias');
      const fn = { id, name: this.#nameOf(id, resource), qualifier, events: resource.properties['Events'] };
      return schedulesOf(fn, this.#values, (text) => this.#notes.add(text));
    });
  }

  /** After the aliases were made. */
  eventSources(): readonly TemplateEventSource[] {
    return this.#all((type) => type === EVENT_SOURCE).flatMap(([id, resource]) => {
      try {
        const value = this.#values.value(resource.properties);
        return eventSourceOf(id, value, (text) => this.#notes.add(text)) ?? [];
      } catch (error) {
        if (!(error instanceof Unresolved)) throw error;
        this.#notes.add(`${id} is left out: it ${error.message}`);
        return [];
      }
    });
  }

  permissions(): readonly TemplatePermission[] {
    return this.#all((type) => type === PERMISSION).flatMap(([id, resource]) => {
      try {
        const { name, qualifier } = this.#functionName(id, resource);
        const names = [
          'Action',
          'Principal',
          'SourceArn',
          'SourceAccount',
          'PrincipalOrgID',
          'EventSourceToken',
          'FunctionUrlAuthType',
          'InvokedViaFunctionUrl',
        ];
        const members = names.flatMap((key) => {
          const value = this.#values.value(resource.properties[key]);
          return value === undefined ? [] : [[key, value] as const];
        });
        return [{ functionName: name, qualifier, members: { StatementId: id, ...Object.fromEntries(members) } }];
      } catch (error) {
        if (!(error instanceof Unresolved)) throw error;
        this.#notes.add(`${id} is left out: it ${error.message}`);
        return [];
      }
    });
  }

  #function(id: string, resource: Resource): TemplateFunction {
    this.#noteProperties(id, resource, [...READ]);
    const get = (key: string): string | undefined => this.#text(id, resource, key);
    if (get('PackageType') === 'Image')
      this.#refuse(id, 'PackageType', 'functions in container images cannot be deployed by this');
    const architectures = this.#property(id, resource, 'Architectures');
    if (Array.isArray(architectures) && !architectures.includes('x86_64')) {
      this.#notes.add(`${id} is deployed for x86_64: VMs have the processor of their host`);
    }
    return {
      id,
      name: this.#nameOf(id, resource),
      code: this.#codeOf(id, resource, this.#codeKey(resource)),
      runtime: get('Runtime'),
      handler: get('Handler'),
      description: get('Description') ?? '',
      memory: this.#number(id, resource, 'MemorySize'),
      timeout: this.#number(id, resource, 'Timeout'),
      environment: this.#environment(id, resource),
      layers: this.#layersOf(id, resource),
      reservedConcurrency: this.#number(id, resource, 'ReservedConcurrentExecutions'),
      tags: this.#tags(id, resource),
    };
  }

  /** Null where nothing is said, or it cannot be told. */
  #setting(
    id: string,
    kind: QualifiedSetting['kind'],
    functionName: string,
    qualifier: string | undefined,
    raw: unknown,
  ): QualifiedSetting | null {
    if (raw === undefined) return null;
    try {
      const value = this.#values.value(raw);
      if (!isMap(value)) return null;
      const others = new Set(['FunctionName', 'TargetFunctionArn', 'Qualifier']);
      const members = Object.fromEntries(Object.entries(value).filter(([key]) => !others.has(key)));
      return { kind, functionName, qualifier, members: kind === 'event-invoke-config' ? withArns(members) : members };
    } catch (error) {
      if (!(error instanceof Unresolved)) throw error;
      this.#notes.add(`${kind} of ${id} is left out: it ${error.message}`);
      return null;
    }
  }

  #codeKey({ type, properties }: Resource): string {
    if (type === FUNCTION) return 'Code';
    return 'InlineCode' in properties ? 'InlineCode' : 'CodeUri';
  }

  #codeOf(id: string, resource: Resource, key: string): Code {
    const asset = resource.metadata['aws:asset:path'];
    if (typeof asset === 'string') return { path: this.#existing(id, key, asset) };
    const value = this.#property(id, resource, key);
    if (value === undefined) return this.#refuse(id, key, `${id} needs \`${key}\`: where its files are`);
    if (key === 'InlineCode' && typeof value === 'string') return { text: value };
    if (typeof value === 'string') {
      if (/^[a-z0-9]+:\/\//i.test(value))
        return this.#refuse(id, key, `${value} is not on this machine; name a directory`);
      return { path: this.#existing(id, key, value) };
    }
    const { ZipFile, S3Key } = memberTexts(value);
    if (ZipFile !== undefined) return { text: ZipFile };
    const known = S3Key === undefined ? undefined : this.#template.assets.get(S3Key);
    if (known !== undefined) return { path: this.#existing(id, key, known) };
    return this.#refuse(
      id,
      key,
      `the files of ${id} are in S3, not on this machine; deploy what "sam build" or "cdk synth" made`,
    );
  }

  #existing(id: string, key: string, path: string): string {
    const place = resolve(this.#template.directory, path);
    return existsSync(place)
      ? place
      : this.#refuse(id, key, `${place} does not exist; correct the path, or build first`);
  }

  #environment(id: string, resource: Resource): Readonly<Record<string, string>> {
    const variables = new Map<string, string>();
    const places = [this.#inherited(resource)['Environment'], resource.properties['Environment']].map((raw) => {
      // One by one, as one that cannot be told is no reason to have none.
      const place = isMap(raw) && 'Variables' in raw ? raw : this.#resolved(id, 'Environment', raw);
      return isMap(place) ? place['Variables'] : undefined;
    });
    for (const [name, raw] of places.flatMap((place) => (isMap(place) ? Object.entries(place) : []))) {
      try {
        const value = asText(this.#values.value(raw));
        if (typeof value === 'string') variables.set(name, value);
        else if (value !== undefined) this.#refuse(id, 'Environment', `the variable ${name} must be a text`);
      } catch (error) {
        if (!(error instanceof Unresolved)) throw error;
        this.#notes.add(`${id} does not get the variable ${name}: it ${error.message}`);
      }
    }
    return Object.fromEntries(variables);
  }

  #layersOf(id: string, resource: Resource): readonly string[] {
    const lists = [this.#inherited(resource)['Layers'], resource.properties['Layers']];
    return lists.flatMap((list) => {
      const value = this.#resolved(id, 'Layers', list);
      if (value === undefined) return [];
      const arns = Array.isArray(value) ? (value as readonly Value[]) : [];
      const texts = arns.filter((arn): arn is string => typeof arn === 'string');
      return Array.isArray(value) && texts.length === arns.length
        ? texts
        : this.#refuse(id, 'Layers', 'must be a list of ARNs');
    });
  }

  /** A list of `Key` and `Value` with CloudFormation, a map with SAM. */
  #tags(id: string, resource: Resource): Readonly<Record<string, string>> {
    const places = [this.#inherited(resource)['Tags'], resource.properties['Tags']];
    const tags = places
      .map((raw) => this.#resolved(id, 'Tags', raw))
      .map((value) => {
        if (!Array.isArray(value)) return memberTexts(value ?? null);
        const pairs = (value as readonly Value[]).map(memberTexts);
        return Object.fromEntries(pairs.map(({ Key, Value: text }) => [Key ?? '', text ?? '']));
      });
    return Object.assign({}, ...tags) as Readonly<Record<string, string>>;
  }

  #weights(id: string, resource: Resource): Readonly<Record<string, number>> {
    const config = this.#property(id, resource, 'RoutingConfig');
    const list = isMap(config) ? config['AdditionalVersionWeights'] : undefined;
    const pairs = Array.isArray(list) ? (list as readonly Value[]).map(memberTexts) : [];
    return Object.fromEntries(
      pairs.map(({ FunctionVersion, FunctionWeight }) => [FunctionVersion ?? '', Number(FunctionWeight)]),
    );
  }

  #publishing(): readonly (readonly [string, Resource])[] {
    return this.#all((type) => type === SAM_FUNCTION).filter(
      ([id, resource]) => this.#text(id, resource, 'AutoPublishAlias') !== undefined,
    );
  }

  #nameOf(id: string, resource: Resource): string {
    return this.#text(id, resource, 'FunctionName') ?? id;
  }

  /** A function is referred to by its name or by an ARN, which may have a qualifier. */
  #functionName(
    id: string,
    resource: Resource,
    key = 'FunctionName',
  ): { readonly name: string; readonly qualifier: string | undefined } {
    const text = this.#needed(id, resource, key);
    const [name = text, qualifier] = text.replace(/^.*:function:/, '').split(':');
    return { name, qualifier };
  }

  #all(isWanted: (type: string) => boolean): readonly (readonly [string, Resource])[] {
    return [...this.#template.resources].filter(([id, { type, condition }]) => {
      return isWanted(type) && (condition === null || this.#isTrue(id, condition));
    });
  }

  #isTrue(id: string, condition: string): boolean {
    try {
      return this.#values.isTrue(condition);
    } catch (error) {
      if (!(error instanceof Unresolved)) throw error;
      return this.#refuse(id, 'Condition', `${id} ${error.message}`);
    }
  }

  #lookup(id: string, attribute: string | null): string | undefined {
    const made = this.#made.get(attribute === null ? id : `${id}.${attribute}`);
    const resource = this.#template.resources.get(id);
    if (made !== undefined || resource === undefined || ![FUNCTION, SAM_FUNCTION].includes(resource.type)) return made;
    const name = this.#nameOf(id, resource);
    if (attribute === null) return name;
    return attribute === 'Arn' ? functionArn(this.#account, name) : undefined;
  }

  #inherited({ type }: Resource): Readonly<Record<string, unknown>> {
    return type === SAM_FUNCTION ? this.#template.globals : {};
  }

  #property(id: string, resource: Resource, key: string): Value | undefined {
    return this.#resolved(id, key, resource.properties[key] ?? this.#inherited(resource)[key]);
  }

  #resolved(id: string, key: string, raw: unknown): Value | undefined {
    if (raw === undefined) return undefined;
    try {
      return this.#values.value(raw);
    } catch (error) {
      if (!(error instanceof Unresolved)) throw error;
      return this.#refuse(id, key, `\`${key}\` of ${id} cannot be told: it ${error.message}`);
    }
  }

  #text(id: string, resource: Resource, key: string): string | undefined {
    const value = asText(this.#property(id, resource, key));
    if (value === undefined || typeof value === 'string') return value;
    return this.#refuse(id, key, `\`${key}\` must be a text`);
  }

  #needed(id: string, resource: Resource, key: string): string {
    return this.#text(id, resource, key) ?? this.#refuse(id, key, `${id} needs \`${key}\``);
  }

  #number(id: string, resource: Resource, key: string): number | undefined {
    const text = this.#text(id, resource, key);
    if (text === undefined) return undefined;
    return /^\d+$/.test(text)
      ? Number(text)
      : this.#refuse(id, key, `\`${key}\` must be a whole number, not "${text}"`);
  }

  #noteProperties(id: string, resource: Resource, known: readonly string[]): void {
    const names = Object.keys({ ...this.#inherited(resource), ...resource.properties });
    const others = names.filter((key) => !known.includes(key));
    if (others.length > 0) this.#notes.add(`of ${id} these are left out: ${others.join(', ')}`);
  }

  #noteOthers(): void {
    const known = new Set([
      FUNCTION,
      SAM_FUNCTION,
      VERSION,
      ALIAS,
      PERMISSION,
      URL_CONFIG,
      EVENT_INVOKE_CONFIG,
      EVENT_SOURCE,
      ...LAYERS,
    ]);
    const others = new Map<string, string[]>();
    for (const [id, { type }] of this.#template.resources) {
      if (!known.has(type) && !isSilent(type)) others.set(type, [...(others.get(type) ?? []), id]);
    }
    for (const [type, ids] of others) this.#notes.add(`${type} is left out: ${ids.join(', ')}`);
  }

  #refuse(id: string, key: string, message: string): never {
    const path = key === 'Condition' ? ['Resources', id, key] : ['Resources', id, 'Properties', key];
    return this.#template.refuse(path, message);
  }
}

/** There are no roles here, and nobody to tell how often templates are used. */
function isSilent(type: string): boolean {
  return type.startsWith('AWS::IAM::') || type === 'AWS::CDK::Metadata';
}

/** SAM's destinations have a type beside their ARN. */
function withArns(members: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { DestinationConfig } = members;
  if (!isMap(DestinationConfig)) return members;
  const destinations = Object.entries(DestinationConfig).map(([key, one]) => {
    return [key, isMap(one) ? { Destination: one['Destination'] } : one] as const;
  });
  return { ...members, DestinationConfig: Object.fromEntries(destinations) };
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The members that are texts, or numbers, which become texts. */
function memberTexts(value: Value): Readonly<Record<string, string | undefined>> {
  const members = isMap(value) ? Object.entries(value as Readonly<Record<string, Value>>) : [];
  return Object.fromEntries(
    members.flatMap(([key, one]) => {
      const text = asText(one);
      return typeof text === 'string' ? [[key, text]] : [];
    }),
  );
}
