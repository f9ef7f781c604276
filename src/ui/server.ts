/** Runs in the live page. Requests to the controller, with the key if there is one. It is never part of a URL. */
import { StreamReader, type StreamMessage } from '../protocol/live-state.ts';

const KEY = 'snapfaas-key';
/** A stream says something every 15 s. */
const SILENCE_MS = 40_000;

/** Of this tab alone: it is gone when the tab is. */
export function savedKey(): string {
  return sessionStorage.getItem(KEY) ?? '';
}

export function saveKey(key: string): void {
  if (key === '') sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, key);
}

export function headers(others: Readonly<Record<string, string>> = {}): Record<string, string> {
  const key = savedKey();
  return key === '' ? { ...others } : { ...others, authorization: `Bearer ${key}` };
}

/** What the controller answered in place of what was asked for. */
export class RefusedError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Ends when the controller ends it, or the signal aborts. @throws RefusedError, or TypeError if nobody answers. */
export async function* readStream(path: string, signal: AbortSignal): AsyncGenerator<StreamMessage> {
  const silence = new AbortController();
  const answer = await fetch(path, {
    headers: headers(),
    cache: 'no-store',
    signal: AbortSignal.any([signal, silence.signal]),
  });
  if (!answer.ok || answer.body === null) throw new RefusedError(answer.status, await problemOf(answer));
  const messages = new StreamReader();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let timer = 0;
  try {
    for (;;) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const { value, done } = await reader.read();
      if (done) return;
      yield* messages.push(value);
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

/** The controller's own words, if it has some. */
export async function problemOf(answer: Response): Promise<string> {
  const text = await answer.text().catch(() => '');
  try {
    const body = JSON.parse(text) as {
      readonly error?: { readonly message?: string };
      readonly message?: string;
      readonly Message?: string;
    };
    return body.error?.message ?? body.message ?? body.Message ?? text;
  } catch {
    return text === '' ? `the controller answered ${answer.status}` : text;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
