/**
 * Runs in the fake Firecracker. The bridge between connections to the function port and the runtime's descriptor 3, as
 * `guest/init/bridge.c` has it: one connection at a time, later ones wait; the runtime notices nothing of them. A connection
 * that ends between two exchanges is harmless; one that ends within one ends the runtime's channel.
 */
import type { Duplex } from 'node:stream';
import { FrameType } from '../../../src/protocol/guest.ts';
import type { VsockConnection } from './vsock-connection.ts';

/** Neither requests nor answers: parts of them, or what is said of them. */
const IS_PART: ReadonlySet<number> = new Set([FrameType.chunk, FrameType.taken, FrameType.cancel]);

/** Connections that wait at the port; further ones are refused. */
const MAX_WAITING = 4;

/** Follows a stream from frame to frame, without keeping the frames. */
class FrameFollower {
  /** Requests, or answers, that passed whole: a CHUNK is a part of one. */
  whole = 0;
  readonly #onFrame: (type: number) => void;
  readonly #prefix = Buffer.alloc(5);
  #prefixBytes = 0;
  #leftBytes = 0;
  #isPart = false;

  /** @param onFrame called with the type of each frame as it begins. */
  constructor(onFrame: (type: number) => void) {
    this.#onFrame = onFrame;
  }

  get isBetweenFrames(): boolean {
    return this.#prefixBytes === 0 && this.#leftBytes === 0;
  }

  follow(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      if (this.#leftBytes > 0) {
        const passed = Math.min(this.#leftBytes, bytes.length - at);
        this.#leftBytes -= passed;
        at += passed;
      } else {
        this.#prefix[this.#prefixBytes++] = bytes[at++] ?? 0;
        if (this.#prefixBytes < this.#prefix.length) continue;
        this.#prefixBytes = 0;
        this.#leftBytes = Math.max(0, this.#prefix.readUInt32BE(0) - 1);
        const type = this.#prefix.readUInt8(4);
        this.#isPart = IS_PART.has(type);
        this.#onFrame(type);
      }
      if (this.#leftBytes === 0 && !this.#isPart) this.whole++;
    }
  }
}

export class FunctionPort {
  readonly #runtime: Duplex;
  readonly #waiting: VsockConnection[] = [];
  readonly #fromHost: FrameFollower;
  readonly #fromRuntime = new FrameFollower(() => undefined);
  #connection: VsockConnection | null = null;
  /** The host has not taken all that the runtime said. */
  #isHostBehind = false;
  #isOver = false;
  #invocations = 0;

  /** @param onInvoke called before the runtime gets a request, with the number of those that are counted. */
  constructor(runtime: Duplex, onInvoke: (number: number) => void) {
    this.#runtime = runtime;
    this.#fromHost = new FrameFollower((type) => {
      if (type === FrameType.invoke) this.#invocations++;
      onInvoke(this.#invocations);
    });
    runtime.pause();
    runtime.on('data', (bytes: Buffer) => {
      this.#fromRuntime.follow(bytes);
      this.#isHostBehind = this.#connection?.write(bytes) === false;
      if (this.#isHostBehind) runtime.pause();
    });
    runtime.on('drain', () => this.#connection?.release());
    runtime.on('close', () => this.#end());
  }

  /** Invocations that the runtime was given, rehearsals not counted. */
  get invocations(): number {
    return this.#invocations;
  }

  /** A request, or a part of one, has no answer yet. */
  get isBusy(): boolean {
    const isBetween = this.#fromHost.isBetweenFrames && this.#fromRuntime.isBetweenFrames;
    return !isBetween || this.#fromHost.whole !== this.#fromRuntime.whole;
  }

  get isListening(): boolean {
    return !this.#isOver && this.#waiting.length < MAX_WAITING;
  }

  connect(connection: VsockConnection): void {
    if (connection.isClosed) return;
    connection.onClosed = () => this.#closed(connection);
    if (this.#connection === null) this.#serve(connection);
    else this.#waiting.push(connection);
  }

  /** The runtime has ended: what it still said is read, even if there is nobody to hear it. */
  discard(): void {
    this.#runtime.resume();
  }

  #serve(connection: VsockConnection): void {
    this.#connection = connection;
    connection.onData = (bytes) => {
      this.#fromHost.follow(bytes);
      if (!this.#runtime.write(bytes)) connection.hold();
    };
    connection.onDrain = () => {
      this.#isHostBehind = false;
      this.#runtime.resume();
    };
    this.#runtime.resume();
    connection.release();
  }

  #closed(connection: VsockConnection): void {
    const index = this.#waiting.indexOf(connection);
    if (index >= 0) this.#waiting.splice(index, 1);
    if (this.#connection !== connection) return;
    this.#connection = null;
    // The answer has nobody left to go to, or the rest of the request will never come.
    if (this.isBusy || this.#isHostBehind) return this.#end();
    this.#runtime.pause();
    const next = this.#waiting.shift();
    if (next !== undefined) this.#serve(next);
  }

  /** The host is refused from now on, and the runtime reads the end of its work. */
  #end(): void {
    this.#isOver = true;
    this.#connection?.close();
    for (const waiting of this.#waiting.splice(0)) waiting.reset();
    this.#runtime.destroy();
  }
}
