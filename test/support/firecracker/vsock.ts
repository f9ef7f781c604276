/**
 * Runs in the fake Firecracker. The vsock device's host side: a unix socket on which `CONNECT <port>\n` leads to a port
 * on which the guest listens, answered by `OK <host port>\n`.
 *
 * Nobody listens: closed without an answer. No guest, or a paused one: the host can connect, but nothing is read. The same after
 * a pause without a snapshot, even when the machine runs again.
 */
import { createServer, type Socket } from 'node:net';
import type { Fault, Faults } from './faults.ts';
import type { Journal } from './journal.ts';
import { VsockConnection } from './vsock-connection.ts';

const FIRST_HOST_PORT = 2 ** 30;
const MAX_CONNECTIONS = 1023;
/** The longest CONNECT line, its newline included. */
const MAX_LINE_BYTES = 32;
/** How long OK waits for the guest's first bytes where a fault wants both in one write. */
const GREETING_PATIENCE_MS = 100;

/** What the guest's kernel knows: whether a port is listened on. */
export interface GuestPorts {
  /** Who takes connections to a port; null: nobody listens. */
  listener(port: number): ((connection: VsockConnection) => void) | null;
}

export interface VsockSurroundings {
  readonly faults: Faults;
  readonly journal: Journal;
  /** Carries out what happens to the whole process. */
  readonly strike: (fault: Fault | null) => Promise<void>;
  /** Called before each connection that might reach the guest: a good time to see whether the guest is well. */
  readonly beforeConnect: () => void;
}

export class VsockDevice {
  readonly #surroundings: VsockSurroundings;
  readonly #connections = new Set<VsockConnection>();
  /** Accepted by the kernel, not looked at by the VMM. */
  readonly #unseen = new Set<Socket>();
  #guest: GuestPorts | null = null;
  #isFrozen = false;
  #isResetDue = false;
  /** Paused since the last snapshot: it will not look at new connections until there is one. */
  #isDeaf = false;
  #lastHostPort: number;

  constructor(surroundings: VsockSurroundings, lastHostPort = FIRST_HOST_PORT - 1) {
    this.#surroundings = surroundings;
    this.#lastHostPort = lastHostPort;
  }

  get lastHostPort(): number {
    return this.#lastHostPort;
  }

  /** Rejects if the path exists. The socket is never removed. */
  async bind(path: string): Promise<void> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => this.#accepted(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
  }

  /** The guest's driver is up. */
  attach(guest: GuestPorts): void {
    this.#guest = guest;
    this.#serveUnseen();
  }

  freeze(): void {
    this.#isFrozen = true;
    for (const connection of this.#connections) connection.freeze();
  }

  /** A pause that somebody asked for, of a machine that ran. */
  pause(): void {
    this.#isDeaf = true;
    this.freeze();
  }

  thaw(): void {
    this.#isFrozen = false;
    if (this.#isResetDue) for (const connection of this.#connections) connection.reset();
    this.#isResetDue = false;
    for (const connection of this.#connections) connection.thaw();
    this.#serveUnseen();
  }

  /** What a snapshot does to the connections: the guest's driver resets them when it runs again. Listeners stay. */
  resetAtThaw(): void {
    this.#isResetDue = true;
    this.#isDeaf = false;
  }

  #accepted(socket: Socket): void {
    socket.on('error', () => undefined);
    this.#unseen.add(socket);
    this.#serveUnseen();
  }

  #serveUnseen(): void {
    if (this.#isFrozen || this.#isDeaf || this.#guest === null) return;
    for (const socket of this.#unseen) {
      this.#unseen.delete(socket);
      this.#readRequest(socket);
    }
  }

  /** The line must come in one piece. */
  #readRequest(socket: Socket): void {
    socket.on('end', () => socket.destroy());
    socket.once('data', (bytes) => {
      socket.pause();
      socket.removeAllListeners('end');
      void this.#connect(socket, bytes);
    });
    socket.resume();
  }

  async #connect(socket: Socket, bytes: Buffer): Promise<void> {
    const { faults, journal, strike, beforeConnect } = this.#surroundings;
    const newline = bytes.subarray(0, MAX_LINE_BYTES).indexOf('\n');
    const line = bytes.toString('latin1', 0, Math.max(0, newline));
    const port = Number(/^CONNECT (\d+)$/.exec(line)?.[1] ?? NaN);
    const refuse = (outcome: string): void => {
      journal.write('vsock', { port, outcome });
      socket.destroy();
    };
    if (!(port <= 0xffff_ffff)) return refuse('malformed');
    beforeConnect();
    const fault = faults.take('vsock') ?? faults.take(`vsock ${port}`);
    if (fault?.do === 'eof') return refuse('fault');
    await strike(fault);
    const listener = this.#guest?.listener(port) ?? null;
    if (listener === null || this.#connections.size >= MAX_CONNECTIONS) return refuse('refused');
    const connection = new VsockConnection(socket, bytes.subarray(newline + 1));
    if (this.#isFrozen) connection.freeze();
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
    journal.write('vsock', { port, outcome: 'ok' });
    this.#greet(socket, connection, Buffer.from(`OK ${++this.#lastHostPort}\n`), fault);
    // As a guest's kernel may do that takes a new connection for one of before the snapshot.
    if (fault?.do === 'reset') connection.close();
    else listener(connection);
  }

  #greet(socket: Socket, connection: VsockConnection, greeting: Buffer, fault: Fault | null): void {
    if (fault?.do === 'together') {
      connection.greetLater(greeting);
      setTimeout(() => connection.greet(), GREETING_PATIENCE_MS);
    } else if (fault?.do === 'split') {
      connection.freeze();
      void writeSlowly(socket, greeting).then(() => connection.thaw());
    } else {
      connection.write(greeting);
    }
  }
}

async function writeSlowly(socket: Socket, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
