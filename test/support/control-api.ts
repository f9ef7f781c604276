/**
 * A control API of AWS Lambda in memory, for what a client does with its answers: functions are deployed after some questions,
 * versions and aliases are kept, and what is sent can be looked at. The real one is in the tests of whole paths.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

type Json = Record<string, unknown>;

interface Version {
  configuration: Json;
  zip: Buffer;
}

interface Stored {
  latest: Version;
  readonly versions: Version[];
  readonly aliases: Map<string, Json>;
  /** Questions until the deployment is done. */
  pending: number;
  failure: string | null;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Json;
}

export class ControlApi {
  readonly functions = new Map<string, Stored>();
  readonly seen: SeenRequest[] = [];
  /** The reason for which deployments fail from now on; null: they work. */
  failing: string | null = null;
  /** What an invocation answers. */
  answer: { readonly payload: string; readonly error?: string; readonly log?: string } = { payload: '"ok"' };
  /** Questions until a deployment is done. */
  delay = 2;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<ControlApi> {
    const server = createServer();
    const api = new ControlApi(server);
    server.on('request', (incoming: IncomingMessage, response: ServerResponse) => void api.#serve(incoming, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return api;
  }

  get endpoint(): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The archive of what is deployed. */
  zipOf(name: string): Buffer {
    return this.#get(name).latest.zip;
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', 'http://localhost');
    const text = (await buffer(incoming)).toString('utf8');
    const body = (text === '' ? {} : JSON.parse(text)) as Json;
    const method = incoming.method ?? '';
    this.seen.push({ method, path: `${url.pathname}${url.search}`, headers: incoming.headers, body });
    try {
      const answer = this.#answer(method, url, body);
      const { status = 200, headers = {}, content } = answer;
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(content ?? '');
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      response
        .writeHead(error.status, { 'x-amzn-errortype': error.type })
        .end(JSON.stringify({ Message: error.message }));
    }
  }

  #answer(
    method: string,
    url: URL,
    body: Json,
  ): { status?: number; headers?: Record<string, string>; content?: Buffer | string } {
    const [, , date = '', ...rest] = ['', ...url.pathname.split('/')];
    const [kind, name = '', part, inner] = rest.map(decodeURIComponent);
    const qualifier = url.searchParams.get('Qualifier');
    const json = (value: unknown, status = 200) => ({ status, content: JSON.stringify(value) });
    if (date === 'code') return { content: Buffer.from(kind ?? '', 'base64url') };
    if (kind !== 'functions') throw new Refusal(404, 'UnknownOperationException', `${method} ${url.pathname}`);
    switch (`${method} ${name === '' ? '' : 'NAME'} ${part ?? ''} ${inner === undefined ? '' : 'X'}`.trim()) {
      case 'GET':
        return json({ Functions: [...this.functions.values()].map(({ latest }) => latest.configuration) });
      case 'POST':
        return json(this.#create(body), 201);
      case 'GET NAME':
        return json(this.#describe(name, qualifier));
      case 'GET NAME configuration':
        return json(this.#configuration(name, qualifier));
      case 'PUT NAME code': {
        const stored = this.#get(name);
        const zip = Buffer.from(String(body['ZipFile']), 'base64');
        return json(this.#deploy(stored, { zip, configuration: { ...stored.latest.configuration, ...code(zip) } }));
      }
      case 'PUT NAME configuration': {
        const stored = this.#get(name);
        const configuration = { ...stored.latest.configuration, ...settings(body) };
        return json(this.#deploy(stored, { ...stored.latest, configuration }));
      }
      case 'DELETE NAME':
        this.#get(name);
        this.functions.delete(name);
        return { status: 204 };
      case 'GET NAME versions':
        return json({
          Versions: [this.#get(name).latest, ...this.#get(name).versions].map((one) => one.configuration),
        });
      case 'POST NAME versions':
        return json(this.#publish(this.#get(name), body), 201);
      case 'GET NAME aliases':
        return json({ Aliases: [...this.#get(name).aliases.values()] });
      case 'POST NAME aliases':
        return json(this.#setAlias(name, String(body['Name']), body), 201);
      case 'GET NAME aliases X': {
        const alias = this.#get(name).aliases.get(inner ?? '');
        if (alias === undefined) throw notFound(`${name}:${inner ?? ''}`);
        return json(alias);
      }
      case 'PUT NAME aliases X':
        return json(this.#setAlias(name, inner ?? '', body));
      case 'DELETE NAME aliases X':
        this.#get(name).aliases.delete(inner ?? '');
        return { status: 204 };
      case 'POST NAME invocations': {
        this.#get(name.split(':', 1)[0] ?? name);
        const { payload, error, log } = this.answer;
        const headers = {
          'x-amz-executed-version': '$LATEST',
          'x-amzn-requestid': randomUUID(),
          ...(error !== undefined && { 'x-amz-function-error': error }),
          ...(log !== undefined && { 'x-amz-log-result': Buffer.from(log).toString('base64') }),
        };
        return { headers, content: payload };
      }
      default:
        throw new Refusal(404, 'UnknownOperationException', `${method} ${url.pathname}`);
    }
  }

  #get(name: string): Stored {
    const stored = this.functions.get(name);
    if (stored === undefined) throw notFound(name);
    return stored;
  }

  #create(body: Json): Json {
    const name = String(body['FunctionName']);
    if (this.functions.has(name))
      throw new Refusal(409, 'ResourceConflictException', `Function already exist: ${name}`);
    const zip = Buffer.from(String((body['Code'] as Json)['ZipFile']), 'base64');
    const configuration: Json = {
      FunctionName: name,
      FunctionArn: `arn:aws:lambda:us-east-1:000000000000:function:${name}`,
      Version: '$LATEST',
      MemorySize: 128,
      Timeout: 3,
      Description: '',
      ...settings(body),
      ...code(zip),
      State: 'Pending',
    };
    const stored: Stored = {
      latest: { configuration, zip },
      versions: [],
      aliases: new Map(),
      pending: this.delay,
      failure: this.failing,
    };
    this.functions.set(name, stored);
    return configuration;
  }

  #deploy(stored: Stored, version: Version): Json {
    if (stored.pending > 0)
      throw new Refusal(409, 'ResourceConflictException', 'The operation cannot be performed at this time.');
    stored.pending = this.delay;
    stored.failure = this.failing;
    const configuration = { ...version.configuration, LastUpdateStatus: 'InProgress' };
    // What fails leaves the version that serves.
    if (this.failing === null) stored.latest = { ...version, configuration };
    else stored.latest.configuration = { ...stored.latest.configuration, LastUpdateStatus: 'InProgress' };
    return configuration;
  }

  #publish(stored: Stored, body: Json): Json {
    const same = stored.versions.at(-1)?.configuration;
    const { CodeSha256, MemorySize } = stored.latest.configuration;
    if (same !== undefined && same['CodeSha256'] === CodeSha256 && same['MemorySize'] === MemorySize) return same;
    const configuration = {
      ...stored.latest.configuration,
      ...settings(body),
      Version: String(stored.versions.length + 1),
    };
    stored.versions.push({ configuration, zip: stored.latest.zip });
    return configuration;
  }

  #setAlias(name: string, alias: string, body: Json): Json {
    const { versions, aliases } = this.#get(name);
    if (!versions.some(({ configuration }) => configuration['Version'] === body['FunctionVersion'])) {
      throw notFound(`${name}:${String(body['FunctionVersion'])}`);
    }
    const made = { ...body, Name: alias, AliasArn: `arn:aws:lambda:us-east-1:000000000000:function:${name}:${alias}` };
    aliases.set(alias, made);
    return made;
  }

  #configuration(name: string, qualifier: string | null): Json {
    const stored = this.#get(name);
    if (qualifier !== null && qualifier !== '$LATEST') return this.#version(stored, qualifier).configuration;
    const { latest } = stored;
    if (stored.pending > 0) {
      stored.pending -= 1;
      if (stored.pending === 0)
        latest.configuration = { ...latest.configuration, ...outcome(latest.configuration, stored.failure) };
    }
    return latest.configuration;
  }

  #describe(name: string, qualifier: string | null): Json {
    const version = qualifier === null ? this.#get(name).latest : this.#version(this.#get(name), qualifier);
    const Location = `${this.endpoint.origin}/code/${version.zip.toString('base64url')}`;
    return { Configuration: version.configuration, Code: { RepositoryType: 'S3', Location } };
  }

  #version(stored: Stored, qualifier: string): Version {
    const found = stored.versions.find(({ configuration }) => configuration['Version'] === qualifier);
    if (found === undefined) throw notFound(qualifier);
    return found;
  }
}

class Refusal extends Error {
  readonly status: number;
  readonly type: string;

  constructor(status: number, type: string, message: string) {
    super(message);
    this.status = status;
    this.type = type;
  }
}

function notFound(what: string): Refusal {
  return new Refusal(404, 'ResourceNotFoundException', `Function not found: ${what}`);
}

function code(zip: Buffer): Json {
  return { CodeSha256: createHash('sha256').update(zip).digest('base64'), CodeSize: zip.length };
}

function settings(body: Json): Json {
  const { Runtime, Handler, Description, MemorySize, Timeout, Environment, Layers } = body;
  const layers = (Layers as readonly string[] | undefined)?.map((Arn) => ({ Arn }));
  const all = { Runtime, Handler, Description, MemorySize, Timeout, Environment, Layers: layers };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function outcome({ State }: Json, failure: string | null): Json {
  const isFirst = State === 'Pending';
  if (failure === null) return { State: 'Active', LastUpdateStatus: 'Successful', LastUpdateStatusReason: undefined };
  if (isFirst) return { State: 'Failed', StateReason: failure, StateReasonCode: 'InternalError' };
  return { LastUpdateStatus: 'Failed', LastUpdateStatusReason: failure, LastUpdateStatusReasonCode: 'InternalError' };
}
