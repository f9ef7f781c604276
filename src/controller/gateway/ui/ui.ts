/**
 * Runs in snapctr. The live page at `/ui` and what it reads:
 *
 * ```
 *   /ui           the page; everybody gets it, it holds nothing
 *   /ui/FILE      its scripts and styles
 *   /ui/stream    the state of the controller as server-sent events, for whoever may read the status
 *   /ui/functions/NAME    what it does not have of one function, as JSON, for the same callers
 * ```
 *
 * All else that it shows and does goes by the APIs that others use.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { AccessError } from '../../../auth/access-error.ts';
import type { Caller } from '../../../auth/caller.ts';
import { SnapfaasError } from '../../../protocol/errors.ts';
import type { Dialect, PartialOutput } from '../dialect.ts';
import { errorAnswer, jsonAnswer, type Answer, type HeaderList } from '../http-answer.ts';
import { LiveStream, type LiveSource } from './live-stream.ts';
import { PageFiles, SECURITY_HEADERS } from './page-files.ts';

const ROOT = '/ui';
const STREAM = `${ROOT}/stream`;
const FUNCTION = `${ROOT}/functions/`;

const STREAM_HEADERS: HeaderList = [
  ...['content-type', 'text/event-stream; charset=utf-8'],
  ...['cache-control', 'no-store'],
  ...SECURITY_HEADERS,
];

export interface LivePageOptions {
  /** Of the page's files. */
  readonly directory: string;
  readonly source: LiveSource;
}

export class LivePage {
  readonly #files: PageFiles;
  readonly #stream: LiveStream;
  readonly #source: LiveSource;

  constructor({ directory, source }: LivePageOptions) {
    this.#files = new PageFiles(directory);
    this.#source = source;
    this.#stream = new LiveStream(source, STREAM_HEADERS);
  }

  /** Whether a request is for the page. @param path without its query. */
  static owns(method: string | undefined, path: string): boolean {
    return method === 'GET' && (path === ROOT || path.startsWith(`${ROOT}/`));
  }

  /** Whether everybody gets it. */
  static isOpen(path: string): boolean {
    return path !== STREAM && !path.startsWith(FUNCTION);
  }

  dialectFor(path: string, headers: IncomingHttpHeaders, caller: Caller): Dialect {
    if (path === STREAM) {
      return new PageDialect((output) => {
        authorize(caller);
        return this.#read(output);
      });
    }
    if (path.startsWith(FUNCTION)) {
      return new PageDialect(() => {
        authorize(caller);
        return Promise.resolve(this.#view(path.slice(FUNCTION.length)));
      });
    }
    const name = path.slice(ROOT.length + 1);
    const encoding = [headers['accept-encoding'] ?? ''].flat().join();
    return new PageDialect(() => this.#files.answer(name === '' ? 'index.html' : name, encoding));
  }

  /** Every stream ends. */
  close(): void {
    this.#stream.close();
  }

  #view(encodedName: string): Answer {
    let name: string;
    try {
      name = decodeURIComponent(encodedName);
    } catch {
      throw new SnapfaasError('bad_request', `${encodedName} is no name in a URL; encode it`);
    }
    const view = this.#source.view(name);
    if (view === null) throw new SnapfaasError('function_not_found', `there is no function ${name}`);
    return jsonAnswer(200, view, [...SECURITY_HEADERS, 'cache-control', 'no-store']);
  }

  async #read(output: PartialOutput): Promise<Answer> {
    await this.#stream.read(output);
    return { status: 200, headers: [...STREAM_HEADERS], body: Buffer.alloc(0) };
  }
}

/** @throws AccessError */
function authorize(caller: Caller): void {
  if (!caller.isProven) throw new AccessError('InvalidSignatureException', 'the signature is over a body; send none');
  caller.authorize('snapfaas:ReadStatus');
}

class PageDialect implements Dialect {
  readonly maxBodyBytes = 0;
  readonly outlivesClient = false;
  readonly #answer: (output: PartialOutput) => Promise<Answer>;

  constructor(answer: (output: PartialOutput) => Promise<Answer>) {
    this.#answer = answer;
  }

  headerProblem(): null {
    return null;
  }

  tooLarge(): SnapfaasError {
    return new SnapfaasError('bad_request', 'a GET has no body; send none');
  }

  async begin(_body: Buffer, _id: string, output: PartialOutput): Promise<Answer> {
    // Parts may be sent from the next turn on.
    await Promise.resolve();
    return this.#answer(output);
  }

  answer(): never {
    throw new Error('bug: nothing was run');
  }

  refusal(error: unknown): Answer {
    return errorAnswer(SnapfaasError.from(error), { headers: [...SECURITY_HEADERS] });
  }
}
