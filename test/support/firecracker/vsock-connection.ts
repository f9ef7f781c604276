/**
 * Runs in the fake Firecracker. One connection between the host and a port of the guest: bytes in both directions, which
 * stand still while the machine is paused.
 */
import type { Socket } from 'node:net';

export class VsockConnection {
  onData: (bytes: Buffer) => void = () => undefined;
  /** The host closed it, or it was reset. */
  onClosed: () => void = () => undefined;
  /** All that was written is with the host. */
  onDrain: () => void = () => undefined;
  readonly #socket: Socket;
  /** What is to go in front of the guest's first bytes, in one write with them. */
  #greeting: Buffer | null = null;
  /** Bytes of the host that wait for somebody in the guest to read them. */
  #unread: Buffer[];
  #unsent: Buffer[] = [];
  #isHeld = true;
  #isFrozen = false;

  /** @param first bytes that came behind the CONNECT line. */
  constructor(socket: Socket, first: Buffer) {
    this.#socket = socket;
    this.#unread = first.length === 0 ? [] : [first];
    socket.pause();
    socket.on('data', (bytes: Buffer) => this.#received(bytes));
    socket.on('drain', () => this.onDrain());
    // A half-closed connection is of no use to any of our protocols.
    socket.on('end', () => socket.destroy());
    socket.on('close', () => this.onClosed());
  }

  get isClosed(): boolean {
    return this.#socket.destroyed;
  }

  /** Bytes that the host has not taken yet. */
  get pendingBytes(): number {
    return this.#socket.writableLength + this.#unsent.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  /** The greeting is sent together with the guest's first bytes. */
  greetLater(greeting: Buffer): void {
    this.#greeting = greeting;
  }

  /** Sends the greeting now, if it is still to be sent. */
  greet(): void {
    if (this.#greeting !== null) this.write(Buffer.alloc(0));
  }

  /** Somebody in the guest reads from now on. */
  release(): void {
    this.#isHeld = false;
    this.#flow();
  }

  /** Nobody reads until `release`. */
  hold(): void {
    this.#isHeld = true;
    this.#flow();
  }

  freeze(): void {
    this.#isFrozen = true;
    this.#flow();
  }

  thaw(): void {
    this.#isFrozen = false;
    this.#flow();
    for (const bytes of this.#unsent.splice(0)) this.write(bytes);
    if (!this.#socket.writableNeedDrain) this.onDrain();
  }

  /** False: the host is slow; `onDrain` follows. */
  write(bytes: Buffer): boolean {
    if (this.#isFrozen) {
      this.#unsent.push(bytes);
      return false;
    }
    const greeting = this.#greeting;
    this.#greeting = null;
    return this.#socket.write(greeting === null ? bytes : Buffer.concat([greeting, bytes]));
  }

  /** Ends it behind what was written. */
  close(): void {
    this.#socket.end();
  }

  reset(): void {
    this.#socket.destroy();
  }

  #flow(): void {
    if (this.#isHeld || this.#isFrozen) {
      this.#socket.pause();
      return;
    }
    this.#socket.resume();
    for (const bytes of this.#unread.splice(0)) this.onData(bytes);
  }

  #received(bytes: Buffer): void {
    if (this.#isHeld || this.#isFrozen) this.#unread.push(bytes);
    else this.onData(bytes);
  }
}
