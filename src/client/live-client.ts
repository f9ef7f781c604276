/** Runs in the commands of people. The state of a controller as it changes, from `/ui/stream`. */
import { request as overHttp, type IncomingMessage } from 'node:http';
import { request as overTls } from 'node:https';
import { applyPatch, emptyState, StreamReader, type LivePatch, type LiveState } from '../protocol/live-state.ts';
import { ClientError } from './client-error.ts';
import { describe } from './http.ts';
import type { ClientOptions } from './lambda-client.ts';

/** The stream says something every 15 s. */
const SILENCE_MS = 40_000;
const MAX_REFUSAL_CHARACTERS = 4096;

export class LiveClient {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /**
   * The state after each message, always the same object; it ends when the controller does.
   *
   * @param leave ends it as well.
   * @throws ClientError; the signals' reasons.
   */
  async *states(leave?: AbortSignal): AsyncGenerator<LiveState> {
    const { signal: given } = this.#options;
    const signals = [given, leave].filter((one) => one !== undefined);
    const incoming = await this.#open(AbortSignal.any(signals));
    const reader = new StreamReader();
    let state = emptyState();
    try {
      for await (const text of incoming.setEncoding('utf8') as AsyncIterable<string>) {
        for (const { event, data } of reader.push(text)) {
          if (event === 'end') return;
          if (event === 'full') state = emptyState();
          applyPatch(state, JSON.parse(data) as LivePatch);
          yield state;
        }
      }
    } catch (error) {
      for (const signal of signals) signal.throwIfAborted();
      throw new ClientError('unreachable', describe(this.#options.endpoint, error), { cause: error });
    } finally {
      incoming.destroy();
    }
  }

  async #open(signal: AbortSignal): Promise<IncomingMessage> {
    const { endpoint, token } = this.#options;
    const url = new URL('/ui/stream', endpoint);
    const headers = token === null ? {} : { authorization: `Bearer ${token}` };
    const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = (url.protocol === 'https:' ? overTls : overHttp)(url, { headers, signal, timeout: SILENCE_MS });
      outgoing.once('timeout', () => outgoing.destroy(new Error(`nothing came for ${SILENCE_MS / 1000} s`)));
      outgoing.on('error', (error) => {
        reject(signal.aborted ? (signal.reason as Error) : new ClientError('unreachable', describe(url, error)));
      });
      outgoing.once('response', resolve).end();
    });
    if (incoming.statusCode === 200) return incoming;
    let text = '';
    for await (const part of incoming.setEncoding('utf8') as AsyncIterable<string>) {
      text = (text + part).slice(0, MAX_REFUSAL_CHARACTERS);
    }
    throw refusal(endpoint, incoming.statusCode ?? 0, text);
  }
}

function refusal(endpoint: URL, status: number, text: string): ClientError {
  const key = 'make one with "snapctr keys add NAME --role admin", and give it by --token or SNAPFAAS_TOKEN';
  if (status === 401 || status === 403) {
    return new ClientError('refused', `the controller wants a key that may read its status; ${key}`);
  }
  if (status === 429)
    return new ClientError('refused', 'too many read the state of this controller; end another "top"');
  const [line = ''] = text.split('\n');
  return new ClientError(
    'bad_answer',
    `${endpoint.origin} answered ${status}: ${line.slice(0, 200)}; is it a controller?`,
  );
}
