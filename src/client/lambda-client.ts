/** Runs in the commands of people. A controller's control API, which is that of AWS Lambda: a method for each operation. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import type { z } from 'zod';
import {
  type Alias,
  type EventSourceMapping,
  type FunctionConfiguration,
  type FunctionDescription,
  type FunctionUrl,
  type LayerVersion,
  aliasSchema,
  aliasesPageSchema,
  configurationSchema,
  errorSchema,
  eventSourceSchema,
  eventSourcesPageSchema,
  functionSchema,
  functionUrlSchema,
  functionsPageSchema,
  layerVersionSchema,
  layerVersionsPageSchema,
  versionsPageSchema,
} from './answers.ts';
import { ClientError } from './client-error.ts';
import { exchange, type Body, type Reply } from './http.ts';

export interface ClientOptions {
  readonly endpoint: URL;
  /** Of a key, as "ID.SECRET"; null: none. */
  readonly token: string | null;
  readonly signal?: AbortSignal;
}

/** A zip archive that is on disk. */
export interface PackageFile {
  readonly file: string;
  readonly bytes: number;
}

/** Members of a request, by the names of the API. */
export type Members = Readonly<Record<string, unknown>>;

export interface Invocation {
  readonly payload: Buffer;
  readonly type: 'RequestResponse' | 'Event' | 'DryRun';
  readonly wantsLog: boolean;
  readonly qualifier: string | null;
}

export interface InvocationResult {
  readonly status: number;
  readonly payload: Buffer;
  /** Null: the function did not fail. */
  readonly functionError: string | null;
  /** The end of what it printed; null if it was not asked for. */
  readonly log: string | null;
  readonly version: string | null;
  readonly requestId: string | null;
  /** `cold`, `restored` or `warm`, where it is told. */
  readonly start: string | null;
}

/** Operations on records answer at once. */
const PATIENCE_MS = 60_000;
/** 50 MB over a slow line. */
const UPLOAD_PATIENCE_MS = 900_000;
/** A function's longest time, and what comes before it. */
const INVOKE_PATIENCE_MS = 2_400_000;
/** Of base64, a multiple of three bytes makes whole characters. */
const PART_BYTES = 3 * 64 * 1024;
/** As many as a page may have. */
const PAGE = '1000';

const FUNCTIONS = '/2015-03-31/functions';
const EVENT_SOURCES = '/2015-03-31/event-source-mappings';

export class LambdaClient {
  readonly #endpoint: URL;
  readonly #token: string | null;
  readonly #signal: AbortSignal | undefined;

  constructor({ endpoint, token, signal }: ClientOptions) {
    this.#endpoint = endpoint;
    this.#token = token;
    this.#signal = signal;
  }

  get endpoint(): URL {
    return this.#endpoint;
  }

  createFunction(members: Members, code: PackageFile): Promise<FunctionConfiguration> {
    return this.#call(configurationSchema, 'POST', FUNCTIONS, {
      body: withZip(members, '"Code":{"ZipFile":"', code, '"}'),
    });
  }

  /** One that is a container image, which the members name. */
  createImageFunction(members: Members): Promise<FunctionConfiguration> {
    return this.#call(configurationSchema, 'POST', FUNCTIONS, { body: jsonBody(members) });
  }

  updateImage(name: string, uri: string): Promise<FunctionConfiguration> {
    return this.#call(configurationSchema, 'PUT', `${pathOf(name)}/code`, { body: jsonBody({ ImageUri: uri }) });
  }

  getFunction(name: string, qualifier?: string): Promise<FunctionDescription> {
    return this.#call(functionSchema, 'GET', pathOf(name), { query: { Qualifier: qualifier } });
  }

  /** @returns null if there is none. */
  async findFunction(name: string): Promise<FunctionDescription | null> {
    return orNull(this.getFunction(name));
  }

  getConfiguration(name: string, qualifier?: string): Promise<FunctionConfiguration> {
    return this.#call(configurationSchema, 'GET', `${pathOf(name)}/configuration`, { query: { Qualifier: qualifier } });
  }

  updateCode(name: string, members: Members, code: PackageFile): Promise<FunctionConfiguration> {
    const body = withZip(members, '"ZipFile":"', code, '"');
    return this.#call(configurationSchema, 'PUT', `${pathOf(name)}/code`, { body });
  }

  updateConfiguration(name: string, members: Members): Promise<FunctionConfiguration> {
    return this.#call(configurationSchema, 'PUT', `${pathOf(name)}/configuration`, { body: jsonBody(members) });
  }

  async deleteFunction(name: string, qualifier?: string): Promise<void> {
    await this.#send('DELETE', pathOf(name), { query: { Qualifier: qualifier } });
  }

  listFunctions(): AsyncGenerator<FunctionConfiguration> {
    return this.#pages(functionsPageSchema, `${FUNCTIONS}/`, ({ Functions }) => Functions);
  }

  listVersions(name: string): AsyncGenerator<FunctionConfiguration> {
    return this.#pages(versionsPageSchema, `${pathOf(name)}/versions`, ({ Versions }) => Versions);
  }

  publishVersion(name: string, members: Members): Promise<FunctionConfiguration> {
    return this.#call(configurationSchema, 'POST', `${pathOf(name)}/versions`, { body: jsonBody(members) });
  }

  listAliases(name: string): AsyncGenerator<Alias> {
    return this.#pages(aliasesPageSchema, `${pathOf(name)}/aliases`, ({ Aliases }) => Aliases);
  }

  getAlias(name: string, alias: string): Promise<Alias> {
    return this.#call(aliasSchema, 'GET', aliasPath(name, alias));
  }

  /** @returns null if there is none. */
  findAlias(name: string, alias: string): Promise<Alias | null> {
    return orNull(this.getAlias(name, alias));
  }

  createAlias(name: string, members: Members): Promise<Alias> {
    return this.#call(aliasSchema, 'POST', `${pathOf(name)}/aliases`, { body: jsonBody(members) });
  }

  updateAlias(name: string, alias: string, members: Members): Promise<Alias> {
    return this.#call(aliasSchema, 'PUT', aliasPath(name, alias), { body: jsonBody(members) });
  }

  async deleteAlias(name: string, alias: string): Promise<void> {
    await this.#send('DELETE', aliasPath(name, alias));
  }

  async addPermission(name: string, members: Members, qualifier?: string): Promise<void> {
    await this.#send('POST', `${pathOf(name)}/policy`, { body: jsonBody(members), query: { Qualifier: qualifier } });
  }

  async removePermission(name: string, statement: string, qualifier?: string): Promise<void> {
    await this.#send('DELETE', `${pathOf(name)}/policy/${encodeURIComponent(statement)}`, {
      query: { Qualifier: qualifier },
    });
  }

  async tagFunction(arn: string, tags: Readonly<Record<string, string>>): Promise<void> {
    await this.#send('POST', `/2017-03-31/tags/${encodeURIComponent(arn)}`, { body: jsonBody({ Tags: tags }) });
  }

  async putConcurrency(name: string, reserved: number): Promise<void> {
    const body = jsonBody({ ReservedConcurrentExecutions: reserved });
    await this.#send('PUT', `/2017-10-31/functions/${encodeURIComponent(name)}/concurrency`, { body });
  }

  async putProvisionedConcurrency(name: string, qualifier: string, members: Members): Promise<void> {
    const path = `/2019-09-30/functions/${encodeURIComponent(name)}/provisioned-concurrency`;
    await this.#send('PUT', path, { body: jsonBody(members), query: { Qualifier: qualifier } });
  }

  async putEventInvokeConfig(name: string, qualifier: string | undefined, members: Members): Promise<void> {
    const path = `/2019-09-25/functions/${encodeURIComponent(name)}/event-invoke-config`;
    await this.#send('PUT', path, { body: jsonBody(members), query: { Qualifier: qualifier } });
  }

  /**
   * Makes a mapping, or changes the one that the function has of the same source, unless it is all as it is wanted.
   *
   * @param name with a qualifier, if wanted.
   */
  async putEventSource(name: string, members: Members): Promise<EventSourceMapping> {
    const query = { FunctionName: name, EventSourceArn: String(members['EventSourceArn']) };
    const { EventSourceMappings } = await this.#call(eventSourcesPageSchema, 'GET', EVENT_SOURCES, { query });
    const topics = (of: unknown): string => JSON.stringify(of ?? []);
    const known = EventSourceMappings.find(({ Topics }) => topics(Topics) === topics(members['Topics']));
    const body = jsonBody({ ...members, FunctionName: name });
    if (known === undefined) return this.#call(eventSourceSchema, 'POST', EVENT_SOURCES, { body });
    const told: Members = { ...known, Enabled: known.State !== 'Disabled' && known.State !== 'Disabling' };
    const isSame = Object.entries(members).every(([key, value]) => isDeepStrictEqual(told[key], value));
    return isSame ? known : this.#call(eventSourceSchema, 'PUT', `${EVENT_SOURCES}/${known.UUID}`, { body });
  }

  /** Makes the function's address, or changes the one there is. */
  async putUrl(name: string, qualifier: string | undefined, members: Members): Promise<FunctionUrl> {
    const path = `/2021-10-31/functions/${encodeURIComponent(name)}/url`;
    const options = { body: jsonBody(members), query: { Qualifier: qualifier } };
    try {
      return await this.#call(functionUrlSchema, 'POST', path, options);
    } catch (error) {
      if (!(error instanceof ClientError) || error.type !== 'ResourceConflictException') throw error;
      return this.#call(functionUrlSchema, 'PUT', path, options);
    }
  }

  publishLayerVersion(name: string, members: Members, content: PackageFile): Promise<LayerVersion> {
    const body = withZip(members, '"Content":{"ZipFile":"', content, '"}');
    return this.#call(layerVersionSchema, 'POST', layerPath(name), { body });
  }

  /** @returns null if the layer has none. */
  async newestLayerVersion(name: string): Promise<LayerVersion | null> {
    const { LayerVersions } = await this.#call(layerVersionsPageSchema, 'GET', layerPath(name), {
      query: { MaxItems: '1' },
    });
    const newest = LayerVersions[0];
    return newest === undefined ? null : this.#call(layerVersionSchema, 'GET', `${layerPath(name)}/${newest.Version}`);
  }

  /** @throws ClientError if it was not begun. A function that fails is no error here. */
  async invoke(name: string, { payload, type, wantsLog, qualifier }: Invocation): Promise<InvocationResult> {
    const { status, headers, body } = await this.#send('POST', `${pathOf(name)}/invocations`, {
      query: { Qualifier: qualifier ?? undefined },
      headers: {
        'content-type': 'application/json',
        'x-amz-invocation-type': type,
        ...(wantsLog && { 'x-amz-log-type': 'Tail' }),
      },
      body: { bytes: payload.length, content: payload },
      patienceMs: INVOKE_PATIENCE_MS,
    });
    const header = (key: string): string | null => {
      const value = headers[key];
      return typeof value === 'string' ? value : null;
    };
    const log = header('x-amz-log-result');
    return {
      status,
      payload: body,
      functionError: header('x-amz-function-error'),
      log: log === null ? null : Buffer.from(log, 'base64').toString('utf8'),
      version: header('x-amz-executed-version'),
      requestId: header('x-amzn-requestid'),
      start: header('x-snapfaas-start'),
    };
  }

  /** What is at a `Code.Location`. The token goes along only to the controller itself. */
  async download(location: string): Promise<Buffer> {
    const url = new URL(location, this.#endpoint);
    const headers = url.origin === this.#endpoint.origin ? this.#identity() : {};
    const reply = await exchange({ method: 'GET', url, headers, patienceMs: PATIENCE_MS, signal: this.#signal });
    return checked(reply).body;
  }

  async #call<T>(
    schema: z.ZodType<T>,
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    options: SendOptions = {},
  ): Promise<T> {
    const { body } = await this.#send(method, path, options);
    const parsed = schema.safeParse(parseJson(body));
    if (parsed.success) return parsed.data;
    throw new ClientError('bad_answer', `${this.#endpoint.origin} does not answer as a controller does; is it one?`, {
      cause: parsed.error,
    });
  }

  async *#pages<Page extends { readonly NextMarker?: string | null | undefined }, T>(
    schema: z.ZodType<Page>,
    path: string,
    itemsOf: (page: Page) => readonly T[],
  ): AsyncGenerator<T> {
    let marker: string | undefined;
    do {
      const page: Page = await this.#call(schema, 'GET', path, { query: { Marker: marker, MaxItems: PAGE } });
      yield* itemsOf(page);
      if (marker !== undefined && page.NextMarker === marker) return;
      marker = page.NextMarker ?? undefined;
    } while (marker !== undefined && marker !== '');
  }

  async #send(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, options: SendOptions = {}): Promise<Reply> {
    const url = new URL(this.#endpoint.pathname.replace(/\/$/, '') + path, this.#endpoint);
    for (const [key, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(key, value);
    }
    const { body } = options;
    const upload = body !== undefined && !Buffer.isBuffer(body.content);
    return checked(
      await exchange({
        method,
        url,
        headers: { ...this.#identity(), 'content-type': 'application/json', ...options.headers },
        ...(body && { body }),
        patienceMs: options.patienceMs ?? (upload ? UPLOAD_PATIENCE_MS : PATIENCE_MS),
        signal: this.#signal,
      }),
    );
  }

  #identity(): Readonly<Record<string, string>> {
    return this.#token === null ? {} : { authorization: `Bearer ${this.#token}` };
  }
}

interface SendOptions {
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Body;
  readonly patienceMs?: number;
}

function pathOf(name: string): string {
  return `${FUNCTIONS}/${encodeURIComponent(name)}`;
}

function aliasPath(name: string, alias: string): string {
  return `${pathOf(name)}/aliases/${encodeURIComponent(alias)}`;
}

function layerPath(name: string): string {
  return `/2018-10-31/layers/${encodeURIComponent(name)}/versions`;
}

function jsonBody(members: Members): Body {
  const content = Buffer.from(JSON.stringify(members));
  return { bytes: content.length, content };
}

/** The archive is the last member, and is encoded on the way. */
function withZip(members: Members, before: string, { file, bytes }: PackageFile, after: string): Body {
  const head = Buffer.from(
    `${JSON.stringify(members).replace(/\}$/, '')}${Object.keys(members).length > 0 ? ',' : ''}${before}`,
  );
  const tail = Buffer.from(`${after}}`);
  async function* content(): AsyncGenerator<Buffer> {
    yield head;
    let rest: Buffer = Buffer.alloc(0);
    for await (const part of createReadStream(file, { highWaterMark: PART_BYTES }) as AsyncIterable<Buffer>) {
      const all = rest.length === 0 ? part : Buffer.concat([rest, part]);
      const whole = all.length - (all.length % 3);
      yield Buffer.from(all.toString('base64', 0, whole));
      rest = all.subarray(whole);
    }
    yield Buffer.from(rest.toString('base64'));
    yield tail;
  }
  const encoded = Math.ceil(bytes / 3) * 4;
  return { bytes: head.length + encoded + tail.length, content: Readable.from(content(), { objectMode: false }) };
}

async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ClientError && error.type === 'ResourceNotFoundException') return null;
    throw error;
  }
}

/** @throws ClientError if it is an error. */
function checked(reply: Reply): Reply {
  const { status, headers, body } = reply;
  if (status >= 200 && status < 300) return reply;
  const header = headers['x-amzn-errortype'];
  const type = typeof header === 'string' ? (header.split(':', 1)[0] ?? header) : undefined;
  const { Message, message } = errorSchema.catch({}).parse(parseJson(body));
  const said = Message ?? message ?? '';
  if (type === undefined) {
    const shown = said === '' ? body.toString('utf8', 0, 200).trim() : said;
    throw new ClientError('bad_answer', `status ${status}, without the name of an error: ${shown}`);
  }
  throw new ClientError('refused', said === '' ? `status ${status}` : said, { type });
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return null;
  }
}
