/**
 * Runs in firerunner. QEMU's machine protocol (QMP) on a socket that QEMU inherited: JSON objects, one per line.
 *
 * ```
 *   QEMU  ──▶  {"QMP": …}                       once, when it takes commands
 *   us    ──▶  {"execute": …, "id": n}
 *   QEMU  ──▶  {"return": …, "id": n}  |  {"error": {"desc"}, "id": n}
 *   QEMU  ──▶  {"event": …, "data": …}          at any time
 * ```
 */
import type { Duplex } from 'node:stream';
import { untilAborted } from '../../protocol/abort.ts';
import { LineError, LineReader } from '../../protocol/lines.ts';
import { Throttle } from '../guest/throttle.ts';

/** QEMU's messages have some hundred bytes, and the longest, of commands that are not used here, some ten thousand. */
const MAX_LINE_BYTES = 1024 * 1024;

interface QmpMessage {
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly id?: number;
  readonly event?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Waiting {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Qmp {
  /** Resolves when QEMU has opened its devices and sockets and takes commands; rejects if it ends before. */
  readonly greeting: Promise<void>;
  readonly #socket: Duplex;
  readonly #lines = new LineReader(MAX_LINE_BYTES);
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  /** Null until QEMU has ended. */
  #ended: Error | null = null;
  #sent = 0;
  #onGreeting: () => void = () => undefined;
  #onEnd: (error: Error) => void = () => undefined;

  constructor(socket: Duplex) {
    this.#socket = socket;
    this.greeting = new Promise((resolve, reject) => {
      this.#onGreeting = resolve;
      this.#onEnd = reject;
    });
    this.greeting.catch(() => undefined);
    const throttle = new Throttle(socket);
    socket.on('data', (chunk: Buffer) => {
      throttle.charge(chunk.length);
      this.#onData(chunk);
    });
    socket.on('error', () => undefined);
    socket.on('close', () => this.#end());
    // Negotiation; answered in order, so that commands may follow at once.
    void this.execute('qmp_capabilities').catch(() => undefined);
  }

  /** @throws Error with QEMU's description if it refuses, or if it ends before it answers. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const id = ++this.#sent;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { command, resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  /**
   * Resolves with the first event that `wanted` accepts.
   *
   * @throws the signal's reason.
   */
  async event(wanted: (event: QmpEvent) => boolean, signal: AbortSignal): Promise<QmpEvent> {
    let listener: (event: QmpEvent) => void = () => undefined;
    const happened = new Promise<QmpEvent>((resolve) => {
      listener = (event) => {
        if (wanted(event)) resolve(event);
      };
    });
    this.#listeners.add(listener);
    try {
      return await untilAborted(happened, signal);
    } finally {
      this.#listeners.delete(listener);
    }
  }

  #onData(chunk: Buffer): void {
    if (this.#socket.destroyed) return;
    for (const line of this.#linesOf(chunk)) {
      if (line.trim() === '') continue;
      const message = parseMessage(line);
      if (message === null) return void this.#socket.destroy();
      this.#onMessage(message);
    }
  }

  /** A guest that broke into QEMU may write anything: it must not reach further than its own machine. */
  #linesOf(chunk: Buffer): readonly string[] {
    try {
      return this.#lines.push(chunk);
    } catch (error) {
      if (!(error instanceof LineError)) throw error;
      this.#socket.destroy();
      return [];
    }
  }

  #onMessage(message: QmpMessage): void {
    if (message.QMP !== undefined) return this.#onGreeting();
    if (message.event !== undefined) {
      const event = { name: message.event, data: message.data ?? {} };
      for (const listener of [...this.#listeners]) listener(event);
      return;
    }
    const waiting = message.id === undefined ? undefined : this.#waiting.get(message.id);
    if (waiting === undefined || message.id === undefined) return;
    this.#waiting.delete(message.id);
    if (message.error === undefined) waiting.resolve(message.return);
    else waiting.reject(new Error(`QEMU refused ${waiting.command}: ${message.error.desc}`));
  }

  #end(): void {
    this.#ended = new Error('QEMU ended');
    this.#onEnd(this.#ended);
    for (const { command, reject } of this.#waiting.values()) {
      reject(new Error(`QEMU ended before it answered ${command}`));
    }
    this.#waiting.clear();
  }
}

/** Null for what is no message: whoever breaks into QEMU says what it likes. */
function parseMessage(line: string): QmpMessage | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  const { id, event, data, error } = value;
  const isMessage =
    (id === undefined || typeof id === 'number') &&
    (event === undefined || typeof event === 'string') &&
    (data === undefined || isObject(data)) &&
    (error === undefined || (isObject(error) && typeof error['desc'] === 'string'));
  return isMessage ? value : null;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
