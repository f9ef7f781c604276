/**
 * Runs in the commands of people. One exchange with a controller. Not `fetch`: that gives up on an answer that takes longer
 * than five minutes, as an invocation may, and loses one that comes before the whole body was sent.
 */
import { request as overHttp, type IncomingMessage } from 'node:http';
import { request as overTls } from 'node:https';
import type { Readable } from 'node:stream';
import { messageOf } from '../protocol/errors.ts';
import { ClientError } from './client-error.ts';

export interface Body {
  readonly bytes: number;
  /** Read once. */
  readonly content: Readable | Buffer;
}

export interface Exchange {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Body;
  /** For the whole exchange up to the answer's head. */
  readonly patienceMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** As much of an answer as is read: a download has its own limit. */
const MAX_REPLY_BYTES = 64 * 1024 * 1024;

/** @throws ClientError `unreachable` or `bad_answer`; the signal's reason. */
export async function exchange({ method, url, headers, body, patienceMs, signal }: Exchange): Promise<Reply> {
  signal?.throwIfAborted();
  try {
    const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
      const length = { 'content-length': String(body?.bytes ?? 0) };
      const options = { method, headers: { ...headers, ...length }, ...(signal && { signal }) };
      const outgoing = (url.protocol === 'https:' ? overTls : overHttp)(url, options);
      // Their bytes are bounded; of more than a number Node would drop the rest and say nothing.
      outgoing.maxHeadersCount = 0;
      const timer = setTimeout(() => {
        outgoing.destroy(new Error(`no answer within ${patienceMs / 1000} s`));
      }, patienceMs);
      outgoing.once('close', () => clearTimeout(timer));
      outgoing.once('error', reject);
      outgoing.once('response', (response) => {
        clearTimeout(timer);
        // It may have come before the end of the body, of which nobody wants more then.
        outgoing.off('error', reject).on('error', () => undefined);
        resolve(response);
      });
      const content = body?.content;
      if (content === undefined || Buffer.isBuffer(content)) outgoing.end(content);
      else {
        content.once('error', (error) => outgoing.destroy(error));
        content.pipe(outgoing);
      }
    });
    return { status: incoming.statusCode ?? 0, headers: incoming.headers, body: await readAll(incoming) };
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    if (error instanceof ClientError) throw error;
    throw new ClientError('unreachable', describe(url, error), { cause: error });
  }
}

async function readAll(incoming: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of incoming as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_REPLY_BYTES)
      throw new ClientError('bad_answer', `the answer is larger than ${MAX_REPLY_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** A failure of a connection, and what to do. */
export function describe(url: URL, error: unknown): string {
  const { origin } = url;
  switch (error instanceof Error && 'code' in error ? error.code : undefined) {
    case 'ECONNREFUSED':
      return `nobody listens on ${origin}; start the controller ("npm start"), or name another one with --endpoint`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `there is no host ${url.hostname}; correct --endpoint or SNAPFAAS_ENDPOINT`;
    case 'EPROTO':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
      return `${origin} does not speak TLS; name it with http://`;
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return `the certificate of ${origin} is signed by nobody known; name who signed it in NODE_EXTRA_CA_CERTS`;
    case 'ECONNRESET':
      return `${origin} hung up; does it want TLS (https://), or was it ended?`;
    default:
      return `${origin}: ${messageOf(error)}`;
  }
}

/** Null: it is no JSON. */
export function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return null;
  }
}
