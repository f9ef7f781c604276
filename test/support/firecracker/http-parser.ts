/**
 * Runs in the fake Firecracker. Requests as Firecracker's own small HTTP server reads them: the length of a body comes
 * from Content-Length alone, lines are short, unknown headers are ignored.
 */

/** A request or header line, its end included, has fewer bytes. */
const MAX_LINE_BYTES = 1024;

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  /** Null: the request has none. */
  readonly body: Buffer | null;
}

/** The stream is no HTTP that the server reads; nothing behind it is looked at. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
}

interface Head {
  readonly method: string;
  readonly path: string;
  contentLength: number | null;
}

export class HttpParser {
  readonly #maxBodyBytes: number;
  #bytes: Buffer = Buffer.alloc(0);
  #head: Head | null = null;
  #isHeadComplete = false;

  constructor(maxBodyBytes: number) {
    this.#maxBodyBytes = maxBodyBytes;
  }

  /** The requests that are complete now. @throws HttpError */
  push(chunk: Buffer): HttpRequest[] {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const requests: HttpRequest[] = [];
    for (let request = this.#next(); request !== null; request = this.#next()) requests.push(request);
    return requests;
  }

  #next(): HttpRequest | null {
    while (!this.#isHeadComplete) {
      const line = this.#takeLine();
      if (line === null) return null;
      if (this.#head === null) this.#head = parseRequestLine(line);
      else if (line === '') this.#isHeadComplete = true;
      else this.#takeHeader(this.#head, line);
    }
    const head = this.#head;
    const length = head?.contentLength ?? 0;
    if (head === null || this.#bytes.length < length) return null;
    const body = length === 0 ? null : this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    this.#head = null;
    this.#isHeadComplete = false;
    return { method: head.method, path: head.path, body };
  }

  #takeLine(): string | null {
    const end = this.#bytes.indexOf('\r\n');
    if (end + 2 >= MAX_LINE_BYTES || (end < 0 && this.#bytes.length >= MAX_LINE_BYTES)) {
      throw new HttpError('Invalid request: a line is too long.');
    }
    if (end < 0) return null;
    const line = this.#bytes.toString('latin1', 0, end);
    this.#bytes = this.#bytes.subarray(end + 2);
    return line;
  }

  #takeHeader(head: Head, line: string): void {
    const colon = line.indexOf(':');
    if (colon < 1) throw new HttpError(`Invalid header: ${line}.`);
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (name === 'transfer-encoding')
      throw new HttpError('Unsupported header: the body must come with Content-Length.');
    if (name === 'expect') throw new HttpError('Unsupported header: Expect.');
    if (name !== 'content-length') return;
    if (!/^\d+$/.test(value)) throw new HttpError(`Invalid value. Key:Content-Length; Value:${value}.`);
    head.contentLength = Number(value);
    if (head.contentLength > this.#maxBodyBytes) {
      throw new HttpError(
        `Request payload with size ${value} is larger than the limit of ${this.#maxBodyBytes} allowed by server.`,
      );
    }
  }
}

function parseRequestLine(line: string): Head {
  const [method = '', uri = '', version, ...more] = line.split(' ');
  if (version === undefined || more.length > 0) throw new HttpError('Invalid request line.');
  if (!['GET', 'PUT', 'PATCH', 'DELETE'].includes(method)) throw new HttpError(`Unsupported HTTP method: ${method}.`);
  if (version !== 'HTTP/1.1' && version !== 'HTTP/1.0') throw new HttpError('Unsupported HTTP version.');
  const path = uri.replace(/^http:\/\/[^/]*/, '');
  if (!path.startsWith('/')) throw new HttpError('Invalid URI.');
  return { method, path, contentLength: null };
}
