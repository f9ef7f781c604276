/** Runs in snapctr. Answers of the HTTP gateway as bytes: the same error body and headers on every way out. */
import { STATUS_CODES, type ServerResponse } from 'node:http';
import { SnapfaasError } from '../../protocol/errors.ts';

/** Header names and values in turn, the form `writeHead` takes without building an object first. */
export type HeaderList = string[];

export interface Answer {
  readonly status: number;
  readonly headers: HeaderList;
  readonly body: Buffer;
  /** Of an answer that has begun: it will never be whole, and its client is to notice. */
  readonly isCutOff?: boolean;
}

export interface ErrorAnswerOptions {
  /** Ends the connection after this answer. */
  readonly close?: boolean;
  readonly requestId?: string;
  readonly headers?: HeaderList;
}

const JSON_TYPE = 'application/json';

/** `{"error": {code, message, …}}` with the status of the table; 429 and 503 say when to come again. */
export function errorAnswer(error: SnapfaasError, options: ErrorAnswerOptions = {}): Answer {
  const headers: HeaderList = [];
  const status = error.httpStatus;
  if (options.requestId !== undefined) headers.push('x-snapfaas-request-id', options.requestId);
  if (status === 429 || status === 503) headers.push('retry-after', String(error.retryAfterS ?? 1));
  // RFC 9110, 11.6.1.
  if (status === 401) headers.push('www-authenticate', 'Bearer realm="snapfaas"');
  if (options.headers !== undefined) headers.push(...options.headers);
  if (options.close === true) headers.push('connection', 'close');
  return answer(status, JSON_TYPE, errorBody(error), headers);
}

/** Any value as a JSON answer. */
export function jsonAnswer(status: number, value: unknown, headers: HeaderList = []): Answer {
  return jsonBytesAnswer(status, Buffer.from(JSON.stringify(value)), headers);
}

/** The same of JSON that is written already. */
export function jsonBytesAnswer(status: number, bytes: Buffer, headers: HeaderList = []): Answer {
  return answer(status, JSON_TYPE, bytes, headers);
}

export function answer(status: number, contentType: string, body: Buffer, headers: HeaderList = []): Answer {
  return {
    status,
    headers: ['content-type', contentType, 'content-length', String(body.length), ...headers],
    body,
  };
}

/** Sends a whole answer. `onFinish` runs when it was handed to the system. */
export function send(response: ServerResponse, { status, headers, body }: Answer, onFinish?: () => void): void {
  response.writeHead(status, headers);
  response.end(body, onFinish);
}

/** An answer for a socket on which no response object can be had, such as after bytes that are no HTTP. */
export function rawAnswer({ status, headers, body }: Answer): Buffer {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
  for (let at = 0; at < headers.length; at += 2) head += `${headers[at] ?? ''}: ${headers[at + 1] ?? ''}\r\n`;
  return Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), body]);
}

function errorBody(error: SnapfaasError): Buffer {
  try {
    return Buffer.from(JSON.stringify(error.toBody()));
  } catch {
    // Details that are no JSON (a cycle, a bigint) must not cost the client the code and the message.
    return Buffer.from(JSON.stringify({ error: { code: error.code, message: error.message } }));
  }
}
