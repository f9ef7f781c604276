/**
 * Runs in snapctr. What all requests and answers may take of memory together: bodies that still arrive, requests that wait or
 * run, answers that are not read yet. A full queue of large requests, or many clients that do not read, would take gigabytes.
 * One client has a part of that at most, whatever it opens: there is room for another one.
 */
import { isIPv6 } from 'node:net';
import { SnapfaasError } from '../../protocol/errors.ts';

const MIB = 1024 * 1024;
/** Bodies up to this size find room when large ones have taken all of theirs, in bytes. */
const SMALL_BYTES = 64 * 1024;
/** The part that is kept for them, of the budget and of each client's part. */
const SHARE_OF_SMALL = 1 / 8;
/** An answer that has waited for longer for its reader is dropped when others need the room, in ms. */
const ANSWER_PATIENCE_MS = 1000;

/** The part that one client can have of memory, or of connections. */
const SHARE_OF_CLIENT = 3 / 4;

/** An answer that its client has not read yet. */
export interface UnreadAnswer {
  /** Gives it up, and its client with it. */
  drop(): void;
}

interface HeldAnswer {
  readonly client: ClientBudget;
  readonly bytes: number;
  readonly since: number;
}

interface Waiter {
  readonly client: ClientBudget;
  readonly bytes: number;
  readonly done: (hasRoom: boolean) => void;
}

export class ByteBudget {
  readonly maxBytes: number;
  readonly maxConnections: number;
  readonly #clients = new Map<string, ClientBudget>();
  #takenBytes = 0;
  #connections = 0;
  /** Bodies in pieces that found no room for the next one, in order. */
  readonly #waiting = new Set<Waiter>();
  /** In the order in which they were given. */
  readonly #answers = new Map<UnreadAnswer, HeldAnswer>();
  #answerBytes = 0;

  constructor(maxBytes: number, maxConnections: number) {
    this.maxBytes = maxBytes;
    this.maxConnections = maxConnections;
  }

  /** @returns the part of a client that has connected, until `ClientBudget.disconnected`; null: it has too many connections, or all have. */
  connected(address: string): ClientBudget | null {
    const key = clientOf(address);
    const known = this.#clients.get(key);
    const most = this.maxConnections * SHARE_OF_CLIENT;
    if (this.#connections >= this.maxConnections || (known?.connections ?? 0) >= most) return null;
    const client = known ?? new ClientBudget(this, this.maxBytes * SHARE_OF_CLIENT, () => this.#clients.delete(key));
    this.#clients.set(key, client);
    this.#connections += 1;
    client.connections += 1;
    return client;
  }

  disconnected(): void {
    this.#connections -= 1;
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** @returns false if there is no room; nothing is taken then. */
  tryTake(bytes: number): boolean {
    if (bytes > 0 && this.#takenBytes + bytes > roomFor(bytes, this.maxBytes)) return false;
    this.#takenBytes += bytes;
    return true;
  }

  /** As `ClientBudget.take`. */
  take(client: ClientBudget, bytes: number, limitMs: number): Promise<boolean> {
    if (this.#waiting.size === 0 && client.tryTake(bytes)) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => waiter.done(false), limitMs);
      const waiter: Waiter = {
        client,
        bytes,
        done: (hasRoom) => {
          clearTimeout(timer);
          this.#waiting.delete(waiter);
          resolve(hasRoom);
        },
      };
      this.#waiting.add(waiter);
    });
  }

  give(bytes: number): void {
    this.#takenBytes -= bytes;
    for (const waiter of this.#waiting) {
      // Who waits for a part of its own holds up nobody behind it.
      if (!waiter.client.hasRoom(waiter.bytes)) continue;
      if (!waiter.client.tryTake(waiter.bytes)) return;
      waiter.done(true);
    }
  }

  /** Answers are taken in any case, and drop those that have waited long if together they take over half. */
  addAnswer(client: ClientBudget, answer: UnreadAnswer, bytes: number): void {
    const now = performance.now();
    this.#answers.set(answer, { client, bytes, since: now });
    this.#answerBytes += bytes;
    this.#takenBytes += bytes;
    for (const [oldest, { since }] of this.#answers) {
      if (this.#answerBytes <= this.maxBytes / 2 || now - since < ANSWER_PATIENCE_MS) return;
      this.removeAnswer(oldest);
      oldest.drop();
    }
  }

  /** It was read, or its client is gone. Safe to call again. */
  removeAnswer(answer: UnreadAnswer): void {
    const held = this.#answers.get(answer);
    if (held === undefined) return;
    this.#answers.delete(answer);
    this.#answerBytes -= held.bytes;
    held.client.give(held.bytes);
  }
}

/** What all connections of one client have of the budget. */
export class ClientBudget {
  connections = 0;
  readonly #whole: ByteBudget;
  readonly #maxBytes: number;
  readonly #onUnused: () => void;
  #takenBytes = 0;

  constructor(whole: ByteBudget, maxBytes: number, onUnused: () => void) {
    this.#whole = whole;
    this.#maxBytes = maxBytes;
    this.#onUnused = onUnused;
  }

  /** Whether the client's own part has room. */
  hasRoom(bytes: number): boolean {
    return bytes === 0 || this.#takenBytes + bytes <= roomFor(bytes, this.#maxBytes);
  }

  /** @returns false if there is no room; nothing is taken then. */
  tryTake(bytes: number): boolean {
    if (!this.hasRoom(bytes) || !this.#whole.tryTake(bytes)) return false;
    this.#takenBytes += bytes;
    return true;
  }

  /** Waits for room. @returns false if there is none within `limitMs`; nothing is taken then. */
  take(bytes: number, limitMs: number): Promise<boolean> {
    return this.#whole.take(this, bytes, limitMs);
  }

  give(bytes: number): void {
    this.#takenBytes -= bytes;
    this.#whole.give(bytes);
    this.#forgetUnused();
  }

  /** See `ByteBudget.addAnswer`. */
  addAnswer(answer: UnreadAnswer, bytes: number): void {
    this.#takenBytes += bytes;
    this.#whole.addAnswer(this, answer, bytes);
  }

  /** See `ByteBudget.removeAnswer`. */
  removeAnswer(answer: UnreadAnswer): void {
    this.#whole.removeAnswer(answer);
  }

  disconnected(): void {
    this.connections -= 1;
    this.#whole.disconnected();
    this.#forgetUnused();
  }

  /** For whoever found no room. */
  exhausted(bytes: number): SnapfaasError {
    const [whose, maxBytes] = this.hasRoom(bytes)
      ? ['requests and answers', this.#whole.maxBytes]
      : ['requests and answers of one client', this.#maxBytes];
    const mib = Math.floor(maxBytes / MIB);
    const message = `${whose} fill the ${mib} MB that they may take; send it again later, or raise request_memory`;
    return new SnapfaasError('queue_full', message);
  }

  #forgetUnused(): void {
    if (this.connections === 0 && this.#takenBytes === 0) this.#onUnused();
  }
}

/** What one body may find taken already, itself included, in bytes. */
function roomFor(bytes: number, maxBytes: number): number {
  return bytes <= SMALL_BYTES ? maxBytes : maxBytes * (1 - SHARE_OF_SMALL);
}

/** A client is an address, of IPv6 the 64 bits that one network has: within it anybody takes as many addresses as he likes. */
function clientOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !isIPv6(address)) return mapped ?? address;
  const [front = '', back] = address.split('%', 1)[0]?.split('::') ?? [];
  const groups = front === '' ? [] : front.split(':');
  const behind = back === undefined || back === '' ? [] : back.split(':');
  const zeros = back === undefined ? [] : new Array<string>(Math.max(0, 8 - groups.length - behind.length)).fill('0');
  return [...groups, ...zeros, ...behind].slice(0, 4).join(':');
}
