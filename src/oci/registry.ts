/**
 * Runs in snapctr and in the builder. A registry, by the OCI distribution specification: manifests and blobs, with the tokens that it asks
 * for. Nothing it says is believed but what its digest says as well.
 */
import { createHash } from 'node:crypto';
import { messageOf } from '../protocol/errors.ts';
import { credentialsFor } from './credentials.ts';
import { ImageError } from './image-error.ts';
import { ACCEPTED, MAX_DOCUMENT_BYTES } from './manifest.ts';
import { baseUrl, formatReference, isLoopbackHost, type RegistryReference } from './reference.ts';

/** Up to the head of an answer, in ms. */
const ANSWER_PATIENCE_MS = 30_000;
/** Between two pieces of a blob, in ms. */
const PIECE_PATIENCE_MS = 60_000;
const MAX_TOKEN_BYTES = 1024 * 1024;
/** A blob is asked for again from where it broke off. */
const ATTEMPTS = 5;

export class Registry {
  readonly #reference: RegistryReference;
  readonly #base: string;
  readonly #signal: AbortSignal;
  /** Of the header `authorization`; null: nobody has asked. */
  #authorization: string | null = null;

  constructor(reference: RegistryReference, signal: AbortSignal) {
    this.#reference = reference;
    this.#base = baseUrl(reference);
    this.#signal = signal;
  }

  /** @param name a tag or digest. @returns the bytes and their digest. @throws ImageError */
  async manifest(name: string): Promise<{ readonly bytes: Buffer; readonly digest: string }> {
    const response = await this.#get(`/manifests/${name}`, { accept: ACCEPTED });
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of piecesOf(response, this.#signal)) {
      pieces.push(piece);
      if ((bytes += piece.length) > MAX_DOCUMENT_BYTES) {
        throw new ImageError('too_large', `the manifest of ${this.#name} is larger than 4 MiB, as no image's is`);
      }
    }
    const whole = Buffer.concat(pieces);
    const digest = `sha256:${createHash('sha256').update(whole).digest('hex')}`;
    if (name.startsWith('sha256:') && name !== digest) throw this.#wrongDigest('manifest', name, digest);
    return { bytes: whole, digest };
  }

  /**
   * The bytes of a blob, whole: where the connection breaks, the rest is asked for.
   *
   * @throws ImageError, at the end for a wrong digest.
   */
  async *blob(digest: string, size: number): AsyncGenerator<Buffer> {
    const hash = createHash('sha256');
    let come = 0;
    for (let attempt = 1; come < size; attempt += 1) {
      try {
        const range: Record<string, string> = come === 0 ? {} : { range: `bytes=${come}-` };
        const response = await this.#get(`/blobs/${digest}`, range);
        // A registry that knows no ranges begins anew.
        let skip = come > 0 && response.status === 200 ? come : 0;
        for await (const given of piecesOf(response, this.#signal)) {
          const piece = given.subarray(Math.min(skip, given.length));
          skip -= given.length - piece.length;
          come += piece.length;
          if (come > size)
            throw new ImageError(
              'bad_digest',
              `${digest} of ${this.#name} is larger than its manifest says; push it again`,
            );
          hash.update(piece);
          if (piece.length > 0) yield piece;
        }
        if (come < size)
          throw new ImageError('unreachable', `${this.#reference.host} sent ${come} of the ${size} bytes of ${digest}`);
      } catch (error) {
        this.#signal.throwIfAborted();
        if (!(error instanceof ImageError) || !error.isRetryable || attempt === ATTEMPTS) throw error;
      }
    }
    const found = `sha256:${hash.digest('hex')}`;
    if (found !== digest) throw this.#wrongDigest('layer', digest, found);
  }

  get #name(): string {
    return formatReference(this.#reference);
  }

  #wrongDigest(what: string, wanted: string, found: string): ImageError {
    return new ImageError(
      'bad_digest',
      `the ${what} ${wanted} of ${this.#name} came as ${found}; push the image again`,
    );
  }

  async #get(path: string, headers: Readonly<Record<string, string>>): Promise<Response> {
    const ask = (): Promise<Response> =>
      this.#fetch(`${this.#base}${path}`, {
        ...headers,
        ...(this.#authorization === null ? {} : { authorization: this.#authorization }),
      });
    let response = await ask();
    if (response.status === 401) {
      await response.body?.cancel();
      this.#authorization = await this.#authorize(response.headers.get('www-authenticate') ?? '');
      response = await ask();
    }
    if (response.status === 200 || response.status === 206) return response;
    await response.body?.cancel();
    throw this.#refused(response.status, path);
  }

  #refused(status: number, path: string): ImageError {
    const { host } = this.#reference;
    if (status === 401 || status === 403) {
      const login = `log in on this host, so that ~/.docker/config.json has "auths" for ${host}`;
      return new ImageError(
        'denied',
        `${host} does not give ${this.#name} to us (status ${status}); correct the name, or ${login}`,
      );
    }
    if (status === 404) {
      const what = path.startsWith('/manifests/')
        ? 'that image'
        : `the part ${path.slice('/blobs/'.length)} of the image`;
      return new ImageError('not_found', `${host} does not have ${what}: ${this.#name}; correct the name, or push it`);
    }
    return new ImageError('unreachable', `${host} answered with status ${status} for ${this.#name}; try again later`);
  }

  /** https://distribution.github.io/distribution/spec/auth/token/ */
  async #authorize(challenge: string): Promise<string> {
    const { host, path } = this.#reference;
    const credentials = await credentialsFor(host);
    const basic = credentials === null ? null : `Basic ${Buffer.from(credentials).toString('base64')}`;
    const [, scheme = ''] = /^(\w+)\s/.exec(challenge) ?? [];
    if (scheme.toLowerCase() === 'basic' && basic !== null && basic !== this.#authorization) return basic;
    const realm = /[\s,]realm="([^"]*)"/.exec(challenge)?.[1];
    if (scheme.toLowerCase() !== 'bearer' || realm === undefined || !URL.canParse(realm)) throw this.#refused(401, '');
    const url = new URL(realm);
    // Passwords go over TLS only, and nobody is sent into this host from outside.
    if (url.protocol !== 'https:' && !(isLoopbackHost(host) && isLoopbackHost(url.host))) {
      throw new ImageError('denied', `${host} wants a token from ${url.origin}, which is not https; ask who runs it`);
    }
    const service = /[\s,]service="([^"]*)"/.exec(challenge)?.[1];
    if (service !== undefined) url.searchParams.set('service', service);
    url.searchParams.set('scope', `repository:${path}:pull`);
    const response = await this.#fetch(url.href, basic === null ? {} : { authorization: basic });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw this.#refused(response.status === 404 ? 502 : response.status, '');
    }
    return `Bearer ${await this.#readToken(response)}`;
  }

  async #readToken(response: Response): Promise<string> {
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of piecesOf(response, this.#signal)) {
      pieces.push(piece);
      if ((bytes += piece.length) > MAX_TOKEN_BYTES) break;
    }
    try {
      const json = JSON.parse(Buffer.concat(pieces).toString('utf8')) as Readonly<Record<string, unknown>>;
      const token = json['token'] ?? json['access_token'];
      if (typeof token === 'string' && /^[\x21-\x7e]+$/.test(token)) return token;
    } catch {
      // Said below.
    }
    throw new ImageError('unreachable', `${this.#reference.host} gave no token that could be read; try again later`);
  }

  async #fetch(url: string, headers: Readonly<Record<string, string>>): Promise<Response> {
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new Error(`no answer within ${ANSWER_PATIENCE_MS / 1000} s`)),
      ANSWER_PATIENCE_MS,
    );
    const onAbort = (): void => late.abort(this.#signal.reason);
    this.#signal.addEventListener('abort', onAbort, { once: true });
    try {
      // Redirects to other hosts, such as an object store, go without `authorization`: fetch takes it away.
      return await fetch(url, { headers: { ...headers, 'accept-encoding': 'identity' }, signal: late.signal });
    } catch (error) {
      this.#signal.throwIfAborted();
      throw unreachable(this.#reference.host, error);
    } finally {
      clearTimeout(timer);
      this.#signal.removeEventListener('abort', onAbort);
    }
  }
}

async function* piecesOf(response: Response, signal: AbortSignal): AsyncGenerator<Buffer> {
  const reader = (response.body as ReadableStream<Uint8Array> | null)?.getReader();
  if (reader === undefined) return;
  const host = URL.canParse(response.url) ? new URL(response.url).host : 'the registry';
  try {
    for (;;) {
      const piece = await inTime(reader.read(), signal);
      if (piece.done) return;
      yield Buffer.from(piece.value.buffer, piece.value.byteOffset, piece.value.byteLength);
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof ImageError ? error : unreachable(host, error);
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function inTime<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`nothing more came within ${PIECE_PATIENCE_MS / 1000} s`)),
      PIECE_PATIENCE_MS,
    );
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    });
  });
}

function unreachable(host: string, error: unknown): ImageError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return new ImageError(
    'unreachable',
    `${host} cannot be reached: ${messageOf(cause)}; is it up, and its name right?`,
    { cause: error },
  );
}
