/**
 * snapctr, the builder and firerunner are killed at any moment while functions and layers are made, changed and deleted over the API:
 * what was acknowledged is there afterwards, what was not is there whole or not at all, each function answers with what the registry
 * names, and nothing is left over. Each driver has a file of its own.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { removeUnusedApps } from '../../src/images/app-retention.ts';
import { OwnedNames } from '../../src/storage/owned-names.ts';
import { seeded } from '../../src/workload/random.ts';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestVmm,
} from '../support/snapctr.ts';
import { childrenOf, commandOf } from './processes.ts';

export interface DeploymentCrashes {
  readonly vmm: TestVmm;
  readonly rounds: number;
  /** Functions that are changed at once. */
  readonly names: readonly string[];
  /** From the first change of a snapctr to its end at most, in ms: some deployments. */
  readonly longestLifeMs: number;
}

type Helper = 'builder' | 'firerunner';

/** What a version answers with. */
interface Content {
  /** In its code. */
  readonly text: string;
  /** In its environment. */
  readonly note: string;
  /** Version of the layer that it uses; null: none. */
  readonly layer: number | null;
}

/** A function as far as it was acknowledged. */
interface Model {
  readonly newest: Content;
  /** What answers if `newest` is not deployed; null: nothing does. */
  readonly served: Content | null;
  /** How the deployment of `newest` ended, if that is known. */
  readonly end: 'deployed' | 'failed' | null;
  /** The number under which `newest` is published if it is deployed; null: it is not. */
  readonly publishing: number | null;
  readonly published: Readonly<Record<string, Content>>;
  readonly lastNumber: number;
  readonly aliases: Readonly<Record<string, { readonly version: string; readonly routing: Record<string, number> }>>;
  readonly url: string | null;
  readonly retries: number | null;
  readonly tag: string;
}

/** What there is of the layer, by version; and the number given last. */
interface Layers {
  readonly texts: Readonly<Record<number, string>>;
  readonly last: number;
}

/** Undefined: there is none. */
type Possible<T> = readonly [acknowledged: T | undefined, ...begun: (T | undefined)[]];

const Role = 'arn:aws:iam::000000000000:role/any';
const LAYER = 'words';
const LAYER_ARN = `arn:aws:lambda:us-east-1:000000000000:layer:${LAYER}`;
const ALIAS = 'live';
const EMPTY: Layers = { texts: {}, last: 0 };
/** Why a deployment may fail: the builder or firerunner was killed, more than once. */
const LOSSES = /builder|firerunner/;
/** For a deployment, and for what goes on behind answers, on a machine that is busy with other tests, in ms. */
const PATIENCE_MS = 120_000;
/** Until what nobody needs is gone, in ms. */
const FILES_MS = 30_000;
/** How long a helper that is to be killed is waited for at most, in ms. */
const HELPER_MS = 3000;

const CODE = `import os
try:
    from word import WORD
except ImportError:
    WORD = None
def handle(event, context):
    return [TEXT, os.environ["NOTE"], WORD, context.function_version]
`;

function packageOf(text: string): Buffer {
  return makeZip([{ name: 'main.py', data: `TEXT = "${text}"\n${CODE}` }]);
}

function layerOf(text: string): Buffer {
  return makeZip([{ name: 'python/word.py', data: `WORD = "${text}"\n` }]);
}

function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest();
}

/** Without what was deployed of it, as it is to be told by the API. */
function settled(model: Model, end: 'deployed' | 'failed'): Model {
  if (model.end !== null) return model;
  if (end === 'failed') return { ...model, end, publishing: null };
  const { newest, publishing, published } = model;
  const after = publishing === null ? published : { ...published, [publishing]: newest };
  return { ...model, end, served: newest, publishing: null, published: after };
}

function sameContent(one: Content | undefined, other: Content): boolean {
  return one !== undefined && JSON.stringify(one) === JSON.stringify(other);
}

/** One who changes a function, or the layer: one change after the other, until snapctr is gone. */
abstract class Changes<T> {
  /** What the last change was acknowledged to have made; undefined: there is nothing. */
  state: T | undefined;
  /** What the change under way may have made. */
  begun: T | undefined;
  isUnderWay = false;
  acknowledged = 0;
  protected client: sdk.LambdaClient | null = null;
  protected random: () => number = Math.random;
  #serial = 0;

  /** Ends when snapctr does. */
  async run(url: string, seed: number): Promise<void> {
    this.random = seeded(seed);
    await this.with(url, async () => {
      while (await this.change()) await sleep(this.random() * 20);
    });
  }

  protected async with(url: string, use: () => Promise<void>): Promise<void> {
    this.client = lambdaClient(url, { maxAttempts: 1 });
    try {
      await use();
    } finally {
      this.client.destroy();
      this.client = null;
    }
  }

  /** @returns false if there is no snapctr any more. */
  protected abstract change(): Promise<boolean>;

  get possible(): Possible<T> {
    return this.isUnderWay ? [this.state, this.begun] : [this.state];
  }

  /** What was found after a restart. */
  found(state: T | undefined): void {
    this.state = state;
    this.isUnderWay = false;
  }

  /**
   * @param refusals errors of the API by which it says that nothing was changed.
   * @returns the answer; null: it was refused; undefined: there is no snapctr any more.
   */
  protected async send<A>(
    after: T | undefined,
    call: (client: sdk.LambdaClient) => Promise<A>,
    refusals: readonly string[] = [],
  ): Promise<A | null | undefined> {
    this.begun = after;
    this.isUnderWay = true;
    const answer = await this.ask(call, refusals);
    if (answer === undefined) return undefined;
    if (answer !== null) {
      this.state = after;
      this.acknowledged += 1;
    }
    this.isUnderWay = false;
    return answer;
  }

  /** As `send`, of what changes nothing. */
  protected async ask<A>(
    call: (client: sdk.LambdaClient) => Promise<A>,
    refusals: readonly string[] = [],
  ): Promise<A | null | undefined> {
    if (this.client === null) throw new Error('bug: there is no client');
    try {
      return await call(this.client);
    } catch (error) {
      // Of a connection that broke, nobody has told anything.
      if (!(error instanceof sdk.LambdaServiceException) || error.$response === undefined) {
        if (isBroken(error)) return undefined;
        throw error;
      }
      if (refusals.includes(error.name)) return null;
      throw error;
    }
  }

  /** Different each time. */
  protected word(): string {
    this.#serial += 1;
    return `${this.#serial}-${Math.floor(this.random() * 1e9)}`;
  }

  protected pick<V>(values: readonly V[]): V | undefined {
    return values[Math.floor(this.random() * values.length)];
  }
}

function isBroken(error: unknown): boolean {
  for (let one = error; one instanceof Error; one = one.cause) {
    const code = 'code' in one ? String(one.code) : '';
    if (/^(ECONNRESET|ECONNREFUSED|EPIPE|UND_ERR_SOCKET)$/.test(code) || /socket hang up/.test(one.message))
      return true;
  }
  return false;
}

class LayerChanges extends Changes<Layers> {
  override state: Layers = EMPTY;
  /** Of all versions that there ever were: functions go on with those that are deleted. */
  readonly texts = new Map<number, string>();

  get versions(): readonly number[] {
    return Object.keys(this.state.texts).map(Number);
  }

  protected override async change(): Promise<boolean> {
    const { texts, last } = this.state;
    const [oldest] = this.versions;
    if (oldest !== undefined && (this.versions.length > 2 || this.random() < 0.2)) {
      const rest = Object.fromEntries(Object.entries(texts).filter(([version]) => Number(version) !== oldest));
      const command = new sdk.DeleteLayerVersionCommand({ LayerName: LAYER, VersionNumber: oldest });
      return (await this.send({ texts: rest, last }, (client) => client.send(command))) !== undefined;
    }
    const text = `layer ${this.word()}`;
    this.texts.set(last + 1, text);
    const after = { texts: { ...texts, [last + 1]: text }, last: last + 1 };
    const command = new sdk.PublishLayerVersionCommand({ LayerName: LAYER, Content: { ZipFile: layerOf(text) } });
    const answer = await this.send(after, (client) => client.send(command));
    if (answer === undefined) return false;
    assert.equal(answer?.Version, last + 1, 'no number of a layer is given twice');
    // Functions need more time.
    await sleep(this.random() * 400);
    return true;
  }
}

class FunctionChanges extends Changes<Model> {
  readonly name: string;
  readonly #layers: LayerChanges;

  constructor(name: string, layers: LayerChanges) {
    super();
    this.name = name;
    this.#layers = layers;
  }

  protected override async change(): Promise<boolean> {
    const { name: FunctionName, state } = this;
    if (state === undefined) return this.#create();
    const choice = this.random();
    if (choice < 0.06) {
      return (
        (await this.send(undefined, (client) => client.send(new sdk.DeleteFunctionCommand({ FunctionName })))) !==
        undefined
      );
    }
    if (choice < 0.5) return this.#small(state);
    const now = await this.#settled();
    if (now === undefined) return false;
    if (choice < 0.72) return this.#code(now);
    if (choice < 0.85) return this.#configuration(now);
    return this.#publish(now);
  }

  /** Made anew or changed once more, which nobody disturbs. */
  async renew(url: string): Promise<void> {
    await this.with(url, async () => {
      await (this.state === undefined ? this.#create() : this.#code(this.state));
      assert.equal((await this.#settled())?.end, 'deployed');
    });
  }

  async #create(): Promise<boolean> {
    const newest = { text: this.word(), note: this.word(), layer: this.#layer() };
    const Publish = this.random() < 0.3;
    const number = Publish ? 1 : 0;
    const none = { published: {}, aliases: {}, url: null, retries: null, tag: '' };
    const after: Model = { newest, served: null, end: null, publishing: number || null, lastNumber: number, ...none };
    const command = new sdk.CreateFunctionCommand({
      ...{ FunctionName: this.name, Role, Runtime: 'python3.11', Handler: 'main.handle', Timeout: 30, Publish },
      ...{ Code: { ZipFile: packageOf(newest.text) }, ...settingsOf(newest) },
    });
    // Its layer may have been deleted meanwhile.
    return (await this.send(after, (client) => client.send(command), ['InvalidParameterValueException'])) !== undefined;
  }

  async #code(before: Model): Promise<boolean> {
    const newest = { ...before.newest, text: this.word() };
    const Publish = this.random() < 0.3;
    const lastNumber = before.lastNumber + (Publish ? 1 : 0);
    const after: Model = { ...before, newest, end: null, publishing: Publish ? lastNumber : null, lastNumber };
    const command = new sdk.UpdateFunctionCodeCommand({
      ...{ FunctionName: this.name, ZipFile: packageOf(newest.text), Publish },
    });
    const answer = await this.send(after, (client) => client.send(command));
    if (answer === undefined) return false;
    if (Publish) assert.equal(answer?.Version, String(lastNumber), 'no number is given twice');
    return true;
  }

  async #configuration(before: Model): Promise<boolean> {
    const newest = { ...before.newest, note: this.word(), layer: this.#layer() };
    const after: Model = { ...before, newest, end: null, publishing: null };
    const command = new sdk.UpdateFunctionConfigurationCommand({ FunctionName: this.name, ...settingsOf(newest) });
    return (await this.send(after, (client) => client.send(command), ['InvalidParameterValueException'])) !== undefined;
  }

  async #publish(before: Model): Promise<boolean> {
    // What has failed cannot be published.
    if (before.end === 'failed') return this.#code(before);
    const numbers = Object.keys(before.published);
    const last = numbers.at(-1);
    const isSame = last !== undefined && sameContent(before.published[last], before.newest);
    const number = isSame ? Number(last) : before.lastNumber + 1;
    const published = { ...before.published, [number]: before.newest };
    const after = isSame ? before : { ...before, published, lastNumber: number };
    const command = new sdk.PublishVersionCommand({ FunctionName: this.name });
    const answer = await this.send(after, (client) => client.send(command));
    if (answer === undefined) return false;
    assert.equal(answer?.Version, String(number), 'no number is given twice');
    return true;
  }

  /** What is done while a deployment is under way as well. */
  async #small(state: Model): Promise<boolean> {
    const FunctionName = this.name;
    const { aliases, published, url, retries } = state;
    const numbers = Object.keys(published);
    const version = this.pick(numbers);
    const choice = this.random();
    if (choice < 0.4 && version !== undefined) {
      const other = this.pick(numbers.filter((number) => number !== version));
      const routing: Record<string, number> = other === undefined || this.random() < 0.4 ? {} : { [other]: 0.25 };
      const after = { ...state, aliases: { [ALIAS]: { version, routing } } };
      const input = { FunctionName, Name: ALIAS, FunctionVersion: version };
      const members = { ...input, RoutingConfig: { AdditionalVersionWeights: routing } };
      if (aliases[ALIAS] === undefined)
        return this.#did(after, (client) => client.send(new sdk.CreateAliasCommand(members)));
      if (this.random() < 0.8) return this.#did(after, (client) => client.send(new sdk.UpdateAliasCommand(members)));
      const gone = { ...state, aliases: {} };
      return this.#did(gone, (client) => client.send(new sdk.DeleteAliasCommand({ FunctionName, Name: ALIAS })));
    }
    const alias = aliases[ALIAS];
    const free = numbers.find((number) => number !== alias?.version && alias?.routing[number] === undefined);
    if (choice < 0.5 && free !== undefined && numbers.length > 1) {
      const rest = Object.fromEntries(Object.entries(published).filter(([number]) => number !== free));
      const command = new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: free });
      return this.#did({ ...state, published: rest }, (client) => client.send(command));
    }
    if (choice < 0.7) {
      const AuthType = 'NONE';
      const InvokeMode = url === 'BUFFERED' ? 'RESPONSE_STREAM' : 'BUFFERED';
      const after = { ...state, url: InvokeMode };
      if (url === null) {
        const command = new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType, InvokeMode });
        return this.#did(after, (client) => client.send(command));
      }
      if (this.random() < 0.6) {
        const command = new sdk.UpdateFunctionUrlConfigCommand({ FunctionName, InvokeMode });
        return this.#did(after, (client) => client.send(command));
      }
      const command = new sdk.DeleteFunctionUrlConfigCommand({ FunctionName });
      return this.#did({ ...state, url: null }, (client) => client.send(command));
    }
    if (choice < 0.85) {
      if (retries !== null && this.random() < 0.3) {
        const command = new sdk.DeleteFunctionEventInvokeConfigCommand({ FunctionName });
        return this.#did({ ...state, retries: null }, (client) => client.send(command));
      }
      const MaximumRetryAttempts = Math.floor(this.random() * 3);
      const command = new sdk.PutFunctionEventInvokeConfigCommand({ FunctionName, MaximumRetryAttempts });
      return this.#did({ ...state, retries: MaximumRetryAttempts }, (client) => client.send(command));
    }
    const tag = this.word();
    const Resource = `arn:aws:lambda:us-east-1:000000000000:function:${FunctionName}`;
    const command = new sdk.TagResourceCommand({ Resource, Tags: { tag } });
    return this.#did({ ...state, tag }, (client) => client.send(command));
  }

  async #did(after: Model, call: (client: sdk.LambdaClient) => Promise<unknown>): Promise<boolean> {
    return (await this.send(after, call)) !== undefined;
  }

  /** When no deployment is under way; undefined: there is no snapctr any more. */
  async #settled(): Promise<Model | undefined> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const command = new sdk.GetFunctionConfigurationCommand({ FunctionName: this.name });
      const now = await this.ask((client) => client.send(command));
      if (now === undefined) return undefined;
      const end = endOf(now);
      if (end !== null && this.state !== undefined) {
        this.state = settled(this.state, end);
        return this.state;
      }
      assert.ok(Date.now() < deadline, `the deployment ends: ${JSON.stringify(now)}`);
      await sleep(20);
    }
  }

  #layer(): number | null {
    return this.random() < 0.5 ? null : (this.pick(this.#layers.versions) ?? null);
  }
}

function settingsOf({ note, layer }: Content): { Environment: sdk.Environment; Layers: string[] } {
  return { Environment: { Variables: { NOTE: note } }, Layers: layer === null ? [] : [`${LAYER_ARN}:${layer}`] };
}

/** Null: the deployment is under way. */
function endOf(told: sdk.FunctionConfiguration | null): Model['end'] {
  if (told?.State === 'Pending' || told?.LastUpdateStatus === 'InProgress') return null;
  return told?.State === 'Failed' || told?.LastUpdateStatus === 'Failed' ? 'failed' : 'deployed';
}

/** What the API tells of a version: its code, its environment, its layers. */
function toldOf({ CodeSha256, Environment, Layers = [] }: sdk.FunctionConfiguration): unknown {
  return [CodeSha256, Environment?.Variables, Layers.map(({ Arn }) => Arn)];
}

function expectedOf(content: Content): unknown {
  const { Environment, Layers } = settingsOf(content);
  return [sha256(packageOf(content.text)).toString('base64'), Environment.Variables, Layers];
}

/** As the API tells it once no deployment of it is under way; null: it knows none. */
async function ended(client: sdk.LambdaClient, FunctionName: string): Promise<sdk.GetFunctionCommandOutput | null> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(20)) {
    try {
      const fn = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
      if (endOf(fn.Configuration ?? null) !== null) return fn;
      assert.ok(Date.now() < deadline, `the deployment ends: ${JSON.stringify(fn.Configuration)}`);
    } catch (error) {
      if (error instanceof sdk.ResourceNotFoundException) return null;
      throw error;
    }
  }
}

/** All that the API tells of a function, in the order of `expected`; null: it knows none. */
async function look(client: sdk.LambdaClient, FunctionName: string): Promise<readonly unknown[] | null> {
  const fn = await ended(client, FunctionName);
  if (fn === null) return null;
  const configuration = fn.Configuration ?? {};
  if (endOf(configuration) === 'failed') {
    // All code is good: it can only have been by what was killed.
    const { StateReason, StateReasonCode, LastUpdateStatusReason, LastUpdateStatusReasonCode } = configuration;
    const reason = StateReason ?? LastUpdateStatusReason ?? '';
    assert.equal(StateReasonCode ?? LastUpdateStatusReasonCode, 'InternalError', reason);
    assert.match(reason, LOSSES);
  }
  const { Versions = [] } = await client.send(new sdk.ListVersionsByFunctionCommand({ FunctionName }));
  const { Aliases = [] } = await client.send(new sdk.ListAliasesCommand({ FunctionName }));
  const urls = await client.send(new sdk.ListFunctionUrlConfigsCommand({ FunctionName }));
  const events = await client.send(new sdk.ListFunctionEventInvokeConfigsCommand({ FunctionName }));
  return [
    endOf(configuration),
    toldOf(configuration),
    Versions.filter(({ Version }) => Version !== '$LATEST').map((one) => [one.Version, toldOf(one)]),
    Aliases.map(({ Name, FunctionVersion, RoutingConfig }) => [
      Name,
      FunctionVersion,
      RoutingConfig?.AdditionalVersionWeights ?? {},
    ]),
    urls.FunctionUrlConfigs?.map(({ InvokeMode }) => InvokeMode),
    events.FunctionEventInvokeConfigs?.map(({ MaximumRetryAttempts }) => MaximumRetryAttempts),
    fn.Tags?.['tag'] ?? '',
  ];
}

function expected(model: Model): readonly unknown[] {
  return [
    model.end,
    expectedOf(model.newest),
    Object.entries(model.published).map(([number, content]) => [number, expectedOf(content)]),
    Object.entries(model.aliases).map(([name, { version, routing }]) => [name, version, routing]),
    model.url === null ? [] : [model.url],
    model.retries === null ? [] : [model.retries],
    model.tag,
  ];
}

class Crashes {
  readonly #options: DeploymentCrashes;
  readonly #layers = new LayerChanges();
  readonly #functions: readonly FunctionChanges[];
  /** For people. */
  readonly figures = { acknowledged: 0, 'under way': 0, 'of these done': 0, builder: 0, firerunner: 0, failed: 0 };

  constructor(options: DeploymentCrashes) {
    this.#options = options;
    this.#functions = options.names.map((name) => new FunctionChanges(name, this.#layers));
  }

  /** Changes, kills of helpers, and the end of snapctr. */
  async live(snapctr: RunningController, seed: number): Promise<void> {
    const random = seeded(seed);
    const all = [this.#layers, ...this.#functions];
    const ending = Promise.all(all.map((one, i) => one.run(snapctr.url, seed * 31 + i)));
    const life = random() * this.#options.longestLifeMs;
    const killed = random() < 0.6 ? this.#killHelper(snapctr, random, life) : Promise.resolve();
    await Promise.race([sleep(life), ending]);
    snapctr.kill('SIGKILL');
    assert.equal(await snapctr.exited, 'SIGKILL');
    await Promise.all([ending, killed]);
    this.figures['under way'] += all.filter(({ isUnderWay }) => isUnderWay).length;
    this.figures.acknowledged = all.reduce((sum, one) => sum + one.acknowledged, 0);
  }

  /** As soon as there is one, from a moment on that may be any. */
  async #killHelper(snapctr: RunningController, random: () => number, life: number): Promise<void> {
    const helper: Helper = random() < 0.6 ? 'builder' : 'firerunner';
    await sleep(random() * life);
    for (const deadline = Date.now() + HELPER_MS; Date.now() < deadline; await sleep(5)) {
      if (commandOf(snapctr.pid).length === 0) return;
      const pid = childrenOf(snapctr.pid).find((one) =>
        commandOf(one).some((word) => word.endsWith(`bin/${helper}.js`)),
      );
      if (pid === undefined) continue;
      await sleep(random() * 150);
      try {
        process.kill(pid, 'SIGKILL');
        this.figures[helper] += 1;
      } catch {
        // It was done.
      }
      return;
    }
  }

  /** Each function can be deployed. */
  async renew({ url }: RunningController): Promise<void> {
    for (const one of this.#functions) await one.renew(url);
  }

  /** What is there is what was acknowledged, with what was under way or without it. */
  async check(snapctr: RunningController, data: string): Promise<void> {
    const client = lambdaClient(snapctr.url);
    try {
      await this.#checkLayers(client);
      for (const changes of this.#functions) await this.#checkFunction(client, changes);
      const { Functions = [] } = await client.send(new sdk.ListFunctionsCommand({}));
      const names = Functions.map(({ FunctionName }) => FunctionName);
      assert.deepEqual(names, this.#existing.map(({ name }) => name).sort());
      await this.#checkFiles(data);
    } finally {
      client.destroy();
    }
  }

  async #checkLayers(client: sdk.LambdaClient): Promise<void> {
    const { LayerVersions = [] } = await client.send(new sdk.ListLayerVersionsCommand({ LayerName: LAYER }));
    const found: Record<string, string | undefined> = {};
    for (const { Version = 0 } of LayerVersions) {
      const one = await client.send(new sdk.GetLayerVersionCommand({ LayerName: LAYER, VersionNumber: Version }));
      found[Version] = one.Content?.CodeSha256;
    }
    const digests = ({ texts }: Layers): string =>
      JSON.stringify(Object.entries(texts).map(([v, text]) => [v, sha256(layerOf(text)).toString('base64')]));
    const seen = JSON.stringify(Object.entries(found));
    const options = this.#layers.possible.map((one) => one ?? EMPTY);
    const is = options.findLast((one) => digests(one) === seen);
    assert.ok(is !== undefined, `layers: ${seen} of ${options.map(digests).join(' or ')}`);
    if (is !== this.#layers.state) this.figures['of these done'] += 1;
    this.#layers.found(is);
  }

  async #checkFunction(client: sdk.LambdaClient, changes: FunctionChanges): Promise<void> {
    const { name, possible } = changes;
    const found = await look(client, name);
    const seen = JSON.stringify(found);
    const end = found?.[0] === 'failed' ? 'failed' : 'deployed';
    const options = possible.map((model) => (model === undefined ? undefined : settled(model, end)));
    const textOf = (model: Model | undefined): string => JSON.stringify(model === undefined ? null : expected(model));
    const index = options.findLastIndex((model) => textOf(model) === seen);
    assert.ok(index >= 0, `${name}: ${seen} of ${options.map(textOf).join(' or ')}`);
    if (index > 0) this.figures['of these done'] += 1;
    const model = options[index];
    changes.found(model);
    if (model === undefined) return;
    if (model.end === 'failed') this.figures.failed += 1;
    await this.#checkAnswers(client, name, model);
  }

  /** Each version answers with its code, its environment and its layer; an alias with one that it leads to. */
  async #checkAnswers(client: sdk.LambdaClient, name: string, { served, published, aliases }: Model): Promise<void> {
    const answerOf = ({ text, note, layer }: Content, version: string): string =>
      JSON.stringify([text, note, layer === null ? null : this.#layers.texts.get(layer), version]);
    const ask = async (Qualifier: string, answers: readonly string[]): Promise<void> => {
      const command = new sdk.InvokeCommand({ FunctionName: name, Qualifier, Payload: '{}' });
      const { Payload = new Uint8Array(), FunctionError } = await client.send(command);
      const text = JSON.stringify(JSON.parse(Buffer.from(Payload).toString()));
      assert.equal(FunctionError, undefined, text);
      assert.ok(answers.includes(text), `${name}:${Qualifier}: ${text} of ${answers.join(' or ')}`);
    };
    if (served !== null) await ask('$LATEST', [answerOf(served, '$LATEST')]);
    for (const [number, content] of Object.entries(published)) await ask(number, [answerOf(content, number)]);
    for (const [alias, { version, routing }] of Object.entries(aliases)) {
      const numbers = [version, ...Object.keys(routing)];
      const answers = numbers.flatMap((number) => {
        const content = published[number];
        return content === undefined ? [] : [answerOf(content, number)];
      });
      await ask(alias, answers);
    }
  }

  /** Packages that nobody needs any more go behind answers. */
  async #checkFiles(data: string): Promise<void> {
    const needed = new Set(Object.values(this.#layers.state.texts).map((text) => nameOf(layerOf(text))));
    for (const { state } of this.#existing) {
      const { newest, served, published } = state;
      for (const content of [newest, ...(served === null ? [] : [served]), ...Object.values(published)]) {
        needed.add(nameOf(packageOf(content.text)));
        const text = content.layer === null ? undefined : this.#layers.texts.get(content.layer);
        if (text !== undefined) needed.add(nameOf(layerOf(text)));
      }
    }
    const list = (name: string): string => readdirSync(join(data, name)).sort().join(' ');
    const packages = [...needed].sort().join(' ');
    const deadline = Date.now() + FILES_MS;
    while (list('packages') !== packages && Date.now() < deadline) await sleep(20);
    assert.equal(list('packages'), packages, 'the packages that are needed, and no others');
    const records = this.#existing.map(({ name }) => `${name}.json`);
    assert.equal(list('functions'), records.sort().join(' '));
    assert.equal(list('layers'), this.#layers.state.last === 0 ? '' : `${LAYER}.json`);
    assert.deepEqual(
      readdirSync(data).filter((name) => name.startsWith('lock.')),
      [],
    );
  }

  get #existing(): readonly { readonly name: string; readonly state: Model }[] {
    return this.#functions.flatMap(({ name, state }) => (state === undefined ? [] : [{ name, state }]));
  }
}

function nameOf(data: Buffer): string {
  return `${sha256(data).toString('hex')}.zip`;
}

/** Names that a program makes for itself and takes away again. */
function half(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(^|\/)\.?snapfaas-\w+-/.test(name),
  );
}

export function describeDeploymentCrashes(options: DeploymentCrashes): void {
  const rounds = Number(process.env['SNAPFAAS_CRASH_ROUNDS'] ?? options.rounds);
  const first = Number(process.env['SNAPFAAS_CRASH_SEED'] ?? Math.floor(Math.random() * 1e9));
  const title = `snapctr, the builder and firerunner killed while functions are deployed, ${rounds} times: what was acknowledged is there (${options.vmm}, seed ${first})`;
  test(title, { timeout: (rounds + 1) * PATIENCE_MS * 2 }, async (t) => {
    const workspace = createWorkspace([]);
    const data = join(workspace.directory, 'data');
    const cache = join(workspace.directory, 'cache');
    const temporary = join(workspace.directory, 'tmp');
    mkdirSync(temporary);
    const start = (deployed: boolean): Promise<RunningController> =>
      startController(workspace, {
        vmm: options.vmm,
        snapshots: options.vmm === 'process' ? false : 'being made',
        args: ['--data-dir', data],
        env: { XDG_CACHE_HOME: cache, TMPDIR: temporary },
        deployed,
      });
    const crashes = new Crashes(options);
    const log: string[] = [];
    const attempt = async (seed: number, isLast: boolean): Promise<void> => {
      const random = seeded(seed);
      // While it takes up what was under way.
      if (random() < 0.3) {
        const brief = await start(false);
        await sleep(random() * 400);
        brief.kill('SIGKILL');
        assert.equal(await brief.exited, 'SIGKILL');
        await assertNothingLeft(workspace);
      }
      const snapctr = await start(true);
      try {
        await crashes.check(snapctr, data);
        if (isLast) {
          await crashes.renew(snapctr);
          await crashes.check(snapctr, data);
          assert.equal(await snapctr.stop(), 0);
        } else await crashes.live(snapctr, seed);
      } catch (error) {
        log.push(...snapctr.log.slice(-40));
        throw error;
      } finally {
        snapctr.kill('SIGKILL');
        await snapctr.exited;
      }
      await assertNothingLeft(workspace);
    };
    for (let round = 0; round <= rounds; round += 1) {
      await attempt(first + round, round === rounds).catch((cause: unknown) => {
        throw new Error(`round ${round}, seed ${first + round}\n${log.join('\n')}`, { cause });
      });
    }
    t.diagnostic(JSON.stringify(crashes.figures));
    // What was built is there, and is swept when what nobody needs is removed.
    const generous = { maxBytes: Number.MAX_SAFE_INTEGER, maxAgeMs: Number.MAX_SAFE_INTEGER };
    await removeUnusedApps(join(cache, 'snapfaas', 'apps'), generous, new AbortController().signal);
    for (const directory of [data, cache]) assert.deepEqual(half(directory), [], directory);
    // As the next builder does with what one has left that was killed.
    await new OwnedNames('snapfaas-builder-').removeAbandoned(temporary);
    assert.deepEqual(readdirSync(temporary), []);
    workspace.remove();
  });
}
