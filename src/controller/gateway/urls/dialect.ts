/** Runs in snapctr. One request to a function URL, from its body to its answer. */
import { STATUS_CODES, type IncomingMessage } from 'node:http';
import { AccessError } from '../../../auth/access-error.ts';
import type { Caller } from '../../../auth/caller.ts';
import { functionArn, type LambdaAccount } from '../../../protocol/arn.ts';
import { SnapfaasError } from '../../../protocol/errors.ts';
import type { FunctionUrl } from '../../../registry/function-registry.ts';
import type { Logger } from '../../log.ts';
import { shownStart, type Invocation, type Outcome } from '../../task.ts';
import type { Dialect, PartialOutput } from '../dialect.ts';
import { answer as wholeAnswer, type Answer, type HeaderList } from '../http-answer.ts';
import { isFunctionsDoing } from '../lambda/failures.ts';
import { isPreflight } from '../origin-policy.ts';
import { traceHeaderOf } from '../trace-header.ts';
import type { UrlAddress } from './address.ts';
import { corsHeaders, preflightHeaders } from './cors.ts';
import { urlEvent } from './event.ts';
import { BadAnswer, readResult, type Head, type WholeAnswer } from './result.ts';
import { UrlSink } from './stream.ts';

/**
 * A page that comes from the gateway's own address could use the gateway like its owner's browser does. So it gets an origin of its
 * own, whatever else the function says.
 */
const SANDBOX = `sandbox ${[
  ...['allow-downloads', 'allow-forms', 'allow-modals', 'allow-orientation-lock', 'allow-pointer-lock'],
  ...['allow-popups', 'allow-popups-to-escape-sandbox', 'allow-presentation', 'allow-scripts'],
].join(' ')}`;
const TEXT_TYPE = 'text/plain; charset=utf-8';

export interface UrlDialectOptions {
  readonly account: LambdaAccount;
  readonly address: UrlAddress;
  readonly incoming: IncomingMessage;
  /** Null: the URL is open to anybody. */
  readonly caller: Caller | null;
  /** @throws AccessError if the caller may not. */
  readonly authorize: () => void;
  /** Of the event, in bytes. */
  readonly maxEventBytes: number;
  readonly logger: Logger;
}

export class UrlDialect implements Dialect {
  readonly #options: UrlDialectOptions;
  readonly #url: FunctionUrl | null;
  #sink: UrlSink | null = null;

  constructor(options: UrlDialectOptions) {
    this.#options = options;
    this.#url = options.address.url;
  }

  get maxBodyBytes(): number {
    return this.#options.maxEventBytes;
  }

  /** As an Invoke of either kind. */
  get outlivesClient(): boolean {
    return this.#url?.invokeMode === 'BUFFERED';
  }

  headerProblem(): Error | null {
    if (this.#isPreflight) return null;
    try {
      this.#options.authorize();
      return this.#url === null ? new UrlError(404, 'There is no function URL at this address.') : null;
    } catch (error) {
      if (error instanceof AccessError) return error;
      throw error;
    }
  }

  tooLarge(bytes?: number): Error {
    const is = bytes === undefined ? '' : `; it has ${bytes}`;
    return new UrlError(
      413,
      `The event, with a body that is no text in base64, must have ${this.maxBodyBytes} bytes at most${is}.`,
    );
  }

  begin(body: Buffer, id: string, output: PartialOutput): Invocation | Answer {
    const url = this.#url;
    if (url === null) throw new Error('bug: a request without a function was taken');
    const { account, address, incoming, caller, maxEventBytes } = this.#options;
    if (this.#isPreflight && url.cors !== null) {
      const headers = [...preflightHeaders(url.cors, incoming.headers), 'content-length', '0'];
      return { status: 200, headers, body: Buffer.alloc(0) };
    }
    const payload = urlEvent(incoming, body, { url, address, account, caller, requestId: id, now: Date.now() });
    if (payload.length > maxEventBytes) throw this.tooLarge(payload.length);
    if (url.invokeMode === 'RESPONSE_STREAM') {
      this.#sink = new UrlSink(output, (head) => this.#complete(head, id), this.#isHead);
    }
    const trace = traceHeaderOf(incoming.headers);
    const arn = functionArn(account, url.function) + (url.qualifier === null ? '' : `:${url.qualifier}`);
    return {
      function: url.function,
      qualifier: url.qualifier,
      payload,
      lambda: {
        header: { arn, http: true, ...(trace === null ? {} : { trace }) },
        sink: this.#sink,
        wantsReport: false,
      },
    };
  }

  answer(outcome: Outcome, id: string): Answer {
    const start = shownStart(outcome);
    const more = start === null ? [] : ['x-snapfaas-start', start];
    const sink = this.#sink;
    if (sink?.hasBegun === true) return this.#rest(outcome, sink, id);
    if (outcome.status === 'error') {
      if (!isFunctionsDoing(outcome)) {
        const { status, headers, body } = this.refusal(outcome.error, id);
        return { status, headers: [...headers, ...more], body };
      }
      const [failed, text] =
        outcome.error.code === 'function_timeout' ? [504, 'Gateway Timeout'] : [502, 'Internal Server Error'];
      return this.#plain(failed, text, id, more);
    }
    try {
      const problem = sink?.problem ?? null;
      if (problem !== null) throw problem;
      const { body, ...head } = this.#read(outcome.result, outcome.contentType ?? null);
      return { ...this.#complete(head, id, more), body };
    } catch (error) {
      if (!(error instanceof BadAnswer)) throw error;
      this.#tell(id, `its answer cannot be used over HTTP: ${error.message}`);
      return this.#plain(502, 'Internal Server Error', id, more);
    }
  }

  /** A stream in which nothing was written is an empty answer, not one that is no JSON. */
  #read(result: Buffer, contentType: string | null): WholeAnswer {
    const isEmpty = this.#sink !== null && result.length === 0;
    return readResult(result, contentType ?? (isEmpty ? 'application/octet-stream' : null), this.#isHead);
  }

  /** What comes after the parts: nothing, and where the function has failed a client must not take it for whole. */
  #rest(outcome: Outcome, sink: UrlSink, id: string): Answer {
    const problem = outcome.status === 'error' ? outcome.error : sink.problem;
    if (problem !== null) this.#tell(id, `its answer is cut off: ${problem.message}`);
    return { status: 200, headers: [], body: Buffer.alloc(0), isCutOff: problem !== null };
  }

  refusal(error: unknown, id: string): Answer {
    if (error instanceof UrlError) return this.#json(error.status, error.message, id);
    if (error instanceof AccessError) {
      const isHidden = ['AccessDeniedException', 'MissingAuthenticationTokenException'].includes(error.reason);
      const name = isHidden ? 'AccessDeniedException' : error.reason;
      return this.#json(403, isHidden ? 'Forbidden' : error.message, id, ['x-amzn-errortype', name]);
    }
    const ours = SnapfaasError.from(error);
    const { httpStatus: status } = ours;
    const retry = status === 429 || status === 503 ? ['retry-after', String(ours.retryAfterS ?? 1)] : [];
    // Of the host and of the function's files a stranger is told nothing.
    const isInternal = status >= 500 && ours.code !== 'shutting_down';
    if (isInternal) this.#tell(id, ours.message);
    return this.#json(status, isInternal ? (STATUS_CODES[status] ?? '') : ours.message, id, retry);
  }

  get #isHead(): boolean {
    return this.#options.incoming.method === 'HEAD';
  }

  get #isPreflight(): boolean {
    return this.#url !== null && this.#url.cors !== null && isPreflight(this.#options.incoming);
  }

  #json(status: number, message: string, id: string, more: HeaderList = []): Answer {
    return this.#own(
      wholeAnswer(status, 'application/json', Buffer.from(JSON.stringify({ Message: message })), more),
      id,
    );
  }

  #plain(status: number, text: string, id: string, more: HeaderList): Answer {
    return this.#own(wholeAnswer(status, TEXT_TYPE, Buffer.from(text), more), id);
  }

  #own({ status, headers, body }: Answer, id: string): Answer {
    return { ...this.#complete({ status, headers, declaredBytes: null }, id), body };
  }

  /** With what the gateway has to say, which the function cannot gainsay. */
  #complete({ status, headers, declaredBytes }: Head, id: string, more: HeaderList = []): Head {
    const { address, incoming } = this.#options;
    const cors = this.#url?.cors ?? null;
    // How long the body of a GET would be is the function's to say. Applications do.
    const isUnknown = this.#isHead && declaredBytes === null;
    const own = isUnknown ? without(headers, (name) => name === 'content-length') : headers;
    return {
      status,
      declaredBytes,
      headers: [
        ...(cors === null ? own : withoutCors(own)),
        ...(cors === null ? [] : corsHeaders(cors, incoming.headers.origin)),
        ...(address.isByPath ? ['content-security-policy', SANDBOX] : []),
        ...['x-amzn-requestid', id, 'x-snapfaas-request-id', id],
        ...more,
      ],
    };
  }

  #tell(id: string, message: string): void {
    this.#options.logger.warn({ function: this.#url?.function, request: id }, message);
  }
}

/** An answer of the gateway itself. */
class UrlError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A function's own word on it would stand beside ours, and browsers take neither of two. */
function withoutCors(headers: HeaderList): HeaderList {
  return without(headers, (name) => name.startsWith('access-control-'));
}

function without(headers: HeaderList, isUnwanted: (name: string) => boolean): HeaderList {
  return headers.filter((_, at) => !isUnwanted(headers[at - (at % 2)] ?? ''));
}
