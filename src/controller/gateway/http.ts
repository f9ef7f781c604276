/**
 * Runs in snapctr. Requests over HTTP/1.1: `POST /` runs a function, paths that begin with a date are AWS Lambda's API
 * (`lambda/`), four GET routes tell how the controller is.
 *
 * On plain `node:http`, without a framework: an invocation passes through here and everything per request counts.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ANYBODY, type Caller } from '../../auth/caller.ts';
import { AccessError } from '../../auth/access-error.ts';
import type { RequestHead } from '../../auth/sigv4/canonical-request.ts';
import { SnapfaasError } from '../../protocol/errors.ts';
import { ByteBudget, type ClientBudget } from './byte-budget.ts';
import type { Certificate } from './certificate.ts';
import type { Dialect } from './dialect.ts';
import type { Gateway, SubmitTask } from './gateway.ts';
import { errorAnswer, send, type Answer } from './http-answer.ts';
import { Connection } from './http-connection.ts';
import { Exchange } from './http-exchange.ts';
import {
  brokenRequest,
  headProblem,
  listenFailure,
  noTunnel,
  unknownExpectation,
  wrongRoute,
} from './http-problems.ts';
import {
  answerReport,
  authorizeReport,
  isOpen as isOpenReport,
  OpenReport,
  reportRoute,
  type ReportPath,
  type Reports,
} from './http-reports.ts';
import { LambdaApi, type LambdaApiOptions } from './lambda/api.ts';
import { jsonCall, JsonDialect, type JsonApi } from './json/api.ts';
import { NativeDialect } from './native.ts';
import { isPreflight, OriginPolicy } from './origin-policy.ts';
import { LivePage, type LivePageOptions } from './ui/ui.ts';
import type { UrlAddress } from './urls/address.ts';
import { FunctionUrls } from './urls/urls.ts';

export interface Access {
  /** Whether anybody needs a key; asked each time. */
  readonly needsKeys: boolean;
  /**
   * @param target of the request, from its path on.
   * @param service that a signature has to be for, such as "lambda".
   * @throws AccessError if it is nobody's that is known.
   */
  authenticate(head: RequestHead, target: string, service: string): Caller;
}

export interface HttpGatewayOptions extends Reports {
  readonly host: string;
  /** 0 picks a free port; see `HttpGateway.address`. */
  readonly port: number;
  readonly maxPayloadBytes: number;
  /** What requests and their answers may take of memory together. */
  readonly requestMemoryBytes: number;
  readonly submit: SubmitTask;
  /** Absent: requests come without TLS. */
  readonly certificate?: Certificate;
  /** Who sends a request; see `Authenticator`. Default: anybody, who may do everything. */
  readonly access?: Access;
  /** Origins of web pages that may use the gateway; see `OriginPolicy`. Default: none but its own. */
  readonly allowedOrigins?: readonly string[];
  /** Absent: neither the Lambda API nor function URLs are served. */
  readonly lambda?: LambdaApiOptions;
  /** Absent: there is no live page. */
  readonly livePage?: LivePageOptions;
  /** Of those in AWS's JSON protocol. Default: none. */
  readonly jsonApis?: readonly JsonApi[];
  /** Told of each request that is answered with an error before it was a task, with the HTTP status. */
  readonly onRefused?: (status: number) => void;
  /** Longest time from the first byte of a request to its last, in ms. Default 30,000. */
  readonly requestTimeoutMs?: number;
}

const DEFAULT_REQUEST_TIMEOUT_MS = 30_000;
/** Idle connections are cheap; a client that sends something every minute should not have to reconnect. */
const KEEP_ALIVE_MS = 75_000;
/** Some 10 KB each. Further ones are closed: there is no memory to say so. */
const MAX_CONNECTIONS = 10_000;

/**
 * Connections that have come and not been looked at yet, while others are served: of further ones the kernel drops packets, and
 * their clients wait for seconds or are reset. It takes no more than its own `net.core.somaxconn`, which is as many.
 */
const BACKLOG = 4096;

/** See `Gateway`. Not reusable: once closed, it stays closed. */
export class HttpGateway implements Gateway {
  readonly maxPayloadBytes: number;
  readonly requestTimeoutMs: number;
  readonly submit: SubmitTask;
  readonly budget: ByteBudget;
  readonly #options: HttpGatewayOptions;
  #origins: OriginPolicy;
  readonly #native: NativeDialect;
  readonly #lambda: LambdaApi | null;
  readonly #jsonApis: readonly JsonApi[];
  readonly #urls: FunctionUrls | null;
  readonly #livePage: LivePage | null;
  readonly #server: Server;
  /** Connections whose TLS handshake is not done, by their client's address and port. */
  readonly #handshakes = new Map<string, { readonly socket: Socket; readonly budget: ClientBudget }>();
  readonly #connections = new Map<Duplex, Connection>();
  #draining: Promise<void> | null = null;
  #openTasks = 0;
  #onNoTasks: (() => void) | null = null;

  constructor(options: HttpGatewayOptions) {
    this.#options = options;
    this.maxPayloadBytes = options.maxPayloadBytes;
    this.submit = options.submit;
    this.budget = new ByteBudget(options.requestMemoryBytes, MAX_CONNECTIONS);
    this.requestTimeoutMs = options.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS;
    this.#origins = this.#originPolicy(options.host);
    this.#native = new NativeDialect(options.maxPayloadBytes);
    this.#lambda = options.lambda === undefined ? null : new LambdaApi(options.lambda, this);
    this.#jsonApis = options.jsonApis ?? [];
    this.#urls = options.lambda === undefined ? null : new FunctionUrls(options.lambda, options.maxPayloadBytes);
    this.#livePage = options.livePage === undefined ? null : new LivePage(options.livePage);
    const settings = {
      requestTimeout: this.requestTimeoutMs,
      headersTimeout: this.requestTimeoutMs,
      connectionsCheckingInterval: Math.min(1000, Math.ceil(this.requestTimeoutMs / 4)),
      keepAliveTimeout: KEEP_ALIVE_MS,
      // Node's own answer has neither a body nor our headers.
      requireHostHeader: false,
    };
    this.#server =
      options.certificate === undefined ? createServer(settings) : this.#secure(options.certificate, settings);
    // A client that closes its half has sent all it wants to, and waits for its answer (RFC 9112, 9.6).
    Object.assign(this.#server, { httpAllowHalfOpen: true });
    // Their bytes are bounded; of more than a number Node would drop the rest and say nothing.
    this.#server.maxHeadersCount = 0;
    this.#server.on('request', (incoming, response) => this.#admit(incoming, response, false));
    this.#server.on('checkContinue', (incoming, response) => this.#admit(incoming, response, true));
    this.#server.on('checkExpectation', (incoming, response) => this.#admit(incoming, response, false));
    this.#server.on('connect', (_incoming, socket) => this.#tunnel(socket));
    this.#server.on('clientError', (error, socket) => this.#onClientError(error, socket));
    if (options.certificate !== undefined) return;
    this.#server.on('connection', (socket: Socket) => {
      const budget = this.#budgetFor(socket);
      if (budget !== null) this.#connected(socket, budget);
    });
  }

  /** A connection has its budget from its first byte on, and the time of a request for its handshake. */
  #secure(certificate: Certificate, settings: object): TlsServer {
    const handshakeTimeout = this.requestTimeoutMs;
    const server = createTlsServer({ ...settings, ...certificate.pair, allowHalfOpen: true, handshakeTimeout });
    server.prependListener('connection', (socket: Socket) => {
      if (certificate.check()) server.setSecureContext(certificate.pair);
      const budget = this.#budgetFor(socket);
      if (budget === null) return;
      const client = `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`;
      this.#handshakes.set(client, { socket, budget });
      socket.once('close', () => this.#handshakes.delete(client));
    });
    server.on('secureConnection', (socket) => {
      const client = `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`;
      const begun = this.#handshakes.get(client);
      if (begun === undefined) return void socket.destroy();
      this.#handshakes.delete(client);
      this.#connected(socket, begun.budget);
    });
    return server;
  }

  /** Where the gateway listens; with port 0 the real port. Before `start` it is what was asked for. */
  get address(): { readonly host: string; readonly port: number } {
    const bound = this.#server.address() as AddressInfo | null;
    return { host: this.#options.host, port: bound?.port ?? this.#options.port };
  }

  get scheme(): 'http' | 'https' {
    return this.#options.certificate === undefined ? 'http' : 'https';
  }

  get openConnections(): number {
    return this.#connections.size;
  }

  get draining(): boolean {
    return this.#draining !== null;
  }

  /** @throws Error naming host and port, and what to do, if they cannot be had. */
  start(): Promise<void> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => reject(listenFailure(error, host, port));
      this.#server.once('error', failed);
      this.#server.listen({ port, host, backlog: BACKLOG }, () => {
        this.#server.removeListener('error', failed);
        // A name may be one of loopback: only now it is known.
        this.#origins = this.#originPolicy((this.#server.address() as AddressInfo).address);
        // A connection that could not be accepted (no free descriptor) is that client's loss, not our end.
        this.#server.on('error', () => undefined);
        resolve();
      });
    });
  }

  /** Until the last submitted task is answered, new requests get `shutting_down`; then nobody listens any more. */
  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  async close(): Promise<void> {
    this.#draining ??= Promise.resolve();
    this.#endStreams();
    const closed = this.#stopListening();
    for (const { socket } of this.#handshakes.values()) socket.destroy();
    for (const connection of this.#connections.values()) {
      connection.destroy();
      // Not left to the socket's event, which comes after this promise is resolved.
      connection.closed();
    }
    await closed;
  }

  refused(status: number): void {
    this.#options.onRefused?.(status);
  }

  taskOpened(): void {
    this.#openTasks += 1;
  }

  taskFinished(): void {
    this.#openTasks -= 1;
    if (this.#openTasks === 0) this.#onNoTasks?.();
  }

  /** Those that end by themselves late, or never. */
  #endStreams(): void {
    this.#livePage?.close();
    for (const api of this.#jsonApis) api.close?.();
  }

  async #drain(): Promise<void> {
    if (this.#openTasks > 0) await new Promise<void>((resolve) => (this.#onNoTasks = resolve));
    this.#endStreams();
    void this.#stopListening();
    for (const { socket } of this.#handshakes.values()) socket.destroy();
    for (const connection of this.#connections.values()) if (connection.idle) connection.destroy();
  }

  #originPolicy(address: string): OriginPolicy {
    const { host, allowedOrigins = [], access } = this.#options;
    return new OriginPolicy({
      listenHost: host,
      address,
      allowed: allowedOrigins,
      scheme: this.scheme,
      needsKeys: () => access?.needsKeys === true,
    });
  }

  #stopListening(): Promise<void> {
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /** Null: there are too many, and it is closed. */
  #budgetFor(socket: Socket): ClientBudget | null {
    const budget = this.budget.connected(socket.remoteAddress ?? '');
    if (budget === null) socket.destroy();
    else socket.once('close', () => budget.disconnected());
    return budget;
  }

  #connected(socket: Socket, budget: ClientBudget): void {
    const connection = new Connection(socket, budget, (error) => this.#answerOfNoDialect(error));
    this.#connections.set(socket, connection);
    socket.once('close', () => {
      this.#connections.delete(socket);
      connection.closed();
    });
  }

  #admit(incoming: IncomingMessage, response: ServerResponse, waiting: boolean): void {
    const connection = this.#connections.get(incoming.socket);
    if (connection === undefined || connection.broken) return;
    connection.admit(
      () => incoming.complete,
      () => this.#route(connection, incoming, response, waiting),
    );
  }

  /** @param waiting the client waits for "100 Continue". */
  #route(connection: Connection, incoming: IncomingMessage, response: ServerResponse, waiting: boolean): void {
    const url = incoming.url ?? '/';
    const expectsMore = !waiting && incoming.headers.expect !== undefined;
    const address = this.#urls?.addressOf(incoming.headers.host, originForm(url)) ?? null;
    if (address !== null && this.#urls !== null) {
      return this.#toFunction(this.#urls, address, connection, incoming, response, waiting);
    }
    const problem = expectsMore ? unknownExpectation() : (headProblem(incoming) ?? this.#origins.problem(incoming));
    if (problem !== null) return this.#refuse(connection, incoming, response, problem);
    if (incoming.headers.origin !== undefined && this.#answerBrowser(connection, incoming, response)) return;
    const path = pathOf(url);
    const route = reportRoute(incoming.method, path);
    const isNative = incoming.method === 'POST' && path === '/';
    const page = LivePage.owns(incoming.method, path) ? this.#livePage : null;
    if (route === null && !isNative && page === null && !this.#isLambda(path)) {
      return this.#refuse(connection, incoming, response, ...wrongRoute(incoming.method ?? '', path));
    }
    try {
      const call = isNative ? jsonCall(this.#jsonApis, incoming.headers) : null;
      const service = call?.api.service ?? 'lambda';
      const isOpen =
        page === null
          ? route === null
            ? LambdaApi.isOpen(incoming.method, path)
            : isOpenReport(route)
          : LivePage.isOpen(path);
      const caller = isOpen ? ANYBODY : this.#authenticate(incoming, url, service);
      if (route !== null) {
        authorizeReport(route, caller);
        return this.#report(route, caller, connection, incoming, response);
      }
      const dialect =
        page?.dialectFor(path, incoming.headers, caller) ??
        (call && new JsonDialect(call, caller)) ??
        (isNative ? this.#nativeDialect(caller) : this.#lambdaDialect(incoming, caller)) ??
        this.#native;
      new Exchange(this, dialect, connection, incoming, response, caller).receive(waiting);
    } catch (error) {
      if (!(error instanceof AccessError)) throw error;
      this.#refuse(connection, incoming, response, error);
    }
  }

  /** A function URL is another site than the gateway's own: who may use it is said by its configuration. */
  #toFunction(
    urls: FunctionUrls,
    address: UrlAddress,
    connection: Connection,
    incoming: IncomingMessage,
    response: ServerResponse,
    waiting: boolean,
  ): void {
    const expectsMore = !waiting && incoming.headers.expect !== undefined;
    let problem = expectsMore
      ? unknownExpectation()
      : (headProblem(incoming) ?? this.#origins.hostProblem(address.host));
    let caller: Caller | null = null;
    if (problem === null && urls.isClosed(address, incoming)) {
      try {
        caller = this.#authenticate(incoming, incoming.url ?? '/', 'lambda');
        // What proves nothing of its sender may be a page's.
        if (caller === ANYBODY && !urls.namesPage(address, incoming)) problem = this.#origins.pageProblem(incoming);
      } catch (error) {
        if (!(error instanceof AccessError)) throw error;
        problem = error;
      }
    }
    const dialect = urls.dialectFor(incoming, address, caller);
    const exchange = new Exchange(this, dialect, connection, incoming, response, caller ?? ANYBODY);
    if (problem === null) exchange.receive(waiting);
    else exchange.refuse(problem, { waiting: incoming.headers.expect !== undefined });
  }

  #authenticate(incoming: IncomingMessage, url: string, service: string): Caller {
    return this.#options.access?.authenticate(incoming, originForm(url), service) ?? ANYBODY;
  }

  #report(
    route: ReportPath,
    caller: Caller,
    connection: Connection,
    incoming: IncomingMessage,
    response: ServerResponse,
  ): void {
    const report = new OpenReport(connection, incoming, response, this.requestTimeoutMs);
    void answerReport(route, this.#options, incoming, caller, response, this.draining).then(() => report.answered());
  }

  /** Tells the browser of an allowed page that it is. @returns whether that was all it asked. */
  #answerBrowser(connection: Connection, incoming: IncomingMessage, response: ServerResponse): boolean {
    const headers = this.#origins.corsHeaders(incoming);
    if (headers === null) return false;
    if (isPreflight(incoming)) {
      const report = new OpenReport(connection, incoming, response, this.requestTimeoutMs);
      if (this.draining) headers.push('connection', 'close');
      send(response, { status: 204, headers, body: Buffer.alloc(0) });
      report.answered();
      return true;
    }
    for (let at = 0; at < headers.length; at += 2) response.setHeader(headers[at] ?? '', headers[at + 1] ?? '');
    return false;
  }

  #refuse(
    connection: Connection,
    incoming: IncomingMessage,
    response: ServerResponse,
    error: SnapfaasError,
    headers: string[] = [],
  ): void {
    const waiting = incoming.headers.expect !== undefined;
    const call = jsonCall(this.#jsonApis, incoming.headers);
    const dialect = (call && new JsonDialect(call, ANYBODY)) ?? this.#lambdaDialect(incoming, ANYBODY) ?? this.#native;
    new Exchange(this, dialect, connection, incoming, response).refuse(error, { waiting, headers });
  }

  /** Null: the path is none of the Lambda API's. */
  #lambdaDialect(incoming: IncomingMessage, caller: Caller): Dialect | null {
    const url = incoming.url ?? '/';
    return this.#isLambda(pathOf(url)) ? (this.#lambda?.dialectFor(incoming, originForm(url), caller) ?? null) : null;
  }

  #isLambda(path: string): boolean {
    return this.#lambda !== null && LambdaApi.owns(path);
  }

  #nativeDialect(caller: Caller): Dialect {
    return caller === ANYBODY ? this.#native : new NativeDialect(this.maxPayloadBytes, caller);
  }

  /** To a client of which it is not known whose API it speaks: our own error, with what those of Lambda look for. */
  #answerOfNoDialect(error: SnapfaasError): Answer {
    this.refused(error.httpStatus);
    return errorAnswer(error, this.#lambda === null ? {} : { headers: LambdaApi.errorHeaders(error) });
  }

  #onClientError(error: Error & { code?: string }, socket: Duplex): void {
    const connection = this.#connections.get(socket);
    // A client that never sent a byte asked nothing: it gets no answer either.
    if (connection === undefined || connection.silent || error.code === 'ECONNRESET') socket.destroy();
    else connection.onClientError(brokenRequest(error, this.requestTimeoutMs));
  }

  #tunnel(socket: Duplex): void {
    // Node lets go of this socket, its error listener included.
    socket.on('error', () => socket.destroy());
    this.#connections.get(socket)?.closeAfter(this.#answerOfNoDialect(noTunnel()));
  }
}

/** A request target without scheme and host, which it may have as well (RFC 9112, 3.2.2). */
function originForm(target: string): string {
  return target.startsWith('/') ? target : target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, '');
}

function pathOf(target: string): string {
  const path = originForm(target);
  const query = path.indexOf('?');
  const bare = query === -1 ? path : path.slice(0, query);
  return bare === '' ? '/' : bare;
}
