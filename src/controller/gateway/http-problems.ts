/** Runs in snapctr. What the HTTP gateway says when a request, or its own start, cannot work. */
import type { IncomingMessage } from 'node:http';
import { SnapfaasError } from '../../protocol/errors.ts';
import type { HeaderList } from './http-answer.ts';
import { REPORT_PATHS } from './http-reports.ts';

/** For a path or method that is not served; the headers name the allowed methods where the path is right. */
export function wrongRoute(method: string, path: string): [SnapfaasError, HeaderList] {
  const shown = JSON.stringify(path.length > 128 ? `${path.slice(0, 128)}…` : path);
  if (path === '/') return [badRequest(`${method} / is not served; send POST / to run a function`), ['allow', 'POST']];
  if ((REPORT_PATHS as readonly string[]).includes(path)) {
    return [badRequest(`${method} ${path} is not served; send GET ${path}`), ['allow', 'GET, HEAD']];
  }
  const known = REPORT_PATHS.join(', ');
  return [badRequest(`there is nothing at ${shown}; send POST / to run a function, or GET one of ${known}`), []];
}

export function shuttingDown(): SnapfaasError {
  return new SnapfaasError('shutting_down', 'the controller is shutting down; send the request again later');
}

/** What is wrong with the headers of a `POST /`; null if nothing. */
export function headerProblem(
  contentType: string | undefined,
  contentEncoding: string | undefined,
): SnapfaasError | null {
  if (contentType !== undefined && contentType !== 'application/json' && !isJsonType(contentType)) {
    return badRequest(
      `the content type is ${JSON.stringify(contentType)}; send JSON with "content-type: application/json"`,
    );
  }
  if (contentEncoding !== undefined && contentEncoding.toLowerCase() !== 'identity') {
    return badRequest(
      `the content encoding is ${JSON.stringify(contentEncoding)}; send the body as it is, without compression`,
    );
  }
  return null;
}

function isJsonType(contentType: string): boolean {
  return (contentType.split(';', 1)[0] ?? '').trim().toLowerCase() === 'application/json';
}

/** What is wrong with a request's head, though Node takes it: how it names its host, and how its body is coded; null if nothing. */
export function headProblem(incoming: IncomingMessage): SnapfaasError | null {
  return hostProblem(incoming) ?? codingProblem(incoming);
}

/** RFC 9112, 6.1: a function would be given a body in a coding of which it is not told. */
function codingProblem({ headers }: IncomingMessage): SnapfaasError | null {
  const coding = headers['transfer-encoding']?.trim().toLowerCase();
  if (coding === undefined || coding === 'chunked') return null;
  return badRequest('the header "transfer-encoding" may only say "chunked"; send the body without another coding');
}

/** RFC 9112, 3.2. */
function hostProblem({ rawHeaders, httpVersion }: IncomingMessage): SnapfaasError | null {
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1;
  }
  if (hosts > 1) return badRequest('the header "host" is there more than once; send one');
  if (hosts === 1 || httpVersion !== '1.1') return null;
  return badRequest('the header "host" is missing, which HTTP/1.1 asks for');
}

export function unknownExpectation(): SnapfaasError {
  return badRequest('the header "expect" may only say "100-continue"; correct it or leave it out');
}

export function noTunnel(): SnapfaasError {
  return badRequest('this is no proxy: CONNECT is not served; send POST / to run a function');
}

/** For bytes that do not add up to an HTTP request. @param error as `node:http` gives it to "clientError". */
export function brokenRequest(error: Error & { code?: string }, requestTimeoutMs: number): SnapfaasError {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return badRequest(`the request was not complete within ${requestTimeoutMs} ms; send it faster`, error);
    case 'HPE_INVALID_EOF_STATE':
      return badRequest('the connection ended before the request was complete; send the whole body', error);
    case 'HPE_HEADER_OVERFLOW':
      return badRequest('the headers are over the limit of 16 KiB; send less', error);
    case undefined:
    default:
      return badRequest(
        `this is not a valid HTTP/1.1 request (${error.message}); correct its head, or how the length of its body is told`,
        error,
      );
  }
}

/** Why the gateway cannot listen, with what to do about it. */
export function listenFailure(error: Error & { code?: string }, host: string, port: number): Error {
  const place = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return new Error(`cannot listen on ${place}: ${listenAdvice(error, host, port)}`, { cause: error });
}

function listenAdvice(error: Error & { code?: string }, host: string, port: number): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `port ${port} is taken; stop the program that uses it, or choose another with --port (npm start: PORT)`;
    case 'EACCES':
      return `ports below 1024 need more rights; choose a higher one with --port`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${host} is no address of this machine; choose one with --host (127.0.0.1 for this machine only, 0.0.0.0 for all)`;
    case undefined:
    default:
      return error.message;
  }
}

function badRequest(message: string, cause?: unknown): SnapfaasError {
  return new SnapfaasError('bad_request', message, { cause });
}
