/**
 * Runs in the fake Firecracker. The bridge between connections to the function port and the runtime's descriptor 3: one
 * connection at a time, later ones wait; the runtime notices nothing of them.
 */
import type { Duplex } from 'node:stream';
import { FrameType } from '../../../src/protocol/guest.ts';
import type { VsockConnection } from './vsock-connection.ts';

/** Follows a stream from frame to frame, without keeping the frames. */
class FrameFollower {
  readonly #onFrame: (type: number) => void;
  readonly #prefix = Buffer.alloc(5);
  #prefixBytes = 0;
  #leftBytes = 0;

  constructor(onFrame: (type: number) => void) {
    this.#onFrame = onFrame;
  }

  follow(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      if (this.#leftBytes > 0) {
        const skipped = Math.min(this.#leftBytes, bytes.length - at);
        this.#leftBytes -= skipped;
        at += skipped;
        continue;
      }
      this.#prefix[this.#prefixBytes++] = bytes[at++] ?? 0;
      if (this.#prefixBytes < this.#prefix.length) continue;
      this.#prefixBytes = 0;
      this.#leftBytes = Math.max(0, this.#prefix.readUInt32BE(0) - 1);
      this.#onFrame(this.#prefix.readUInt8(4));
    }
  }
}

export class FunctionPort {
  readonly #runtime: Duplex;
  readonly #waiting: VsockConnection[] = [];
  readonly #fromHost: FrameFollower;
  #connection: VsockConnection | null = null;
  #invocations = 0;
  #underWay = 0;

  /** @param onInvoke called before the runtime gets a request, with the number of those that are counted. */
  constructor(runtime: Duplex, onInvoke: (number: number) => void) {
    this.#runtime = runtime;
    this.#fromHost = new FrameFollower((type) => {
      this.#underWay++;
      if (type === FrameType.invoke) this.#invocations++;
      onInvoke(this.#invocations);
    });
    const fromRuntime = new FrameFollower(() => this.#underWay--);
    runtime.pause();
    runtime.on('data', (bytes: Buffer) => {
      fromRuntime.follow(bytes);
      if (this.#connection?.write(bytes) === false) runtime.pause();
    });
    runtime.on('drain', () => this.#connection?.release());
  }

  /** Invocations that the runtime was given, rehearsals not counted. */
  get invocations(): number {
    return this.#invocations;
  }

  get isBusy(): boolean {
    return this.#underWay > 0;
  }

  connect(connection: VsockConnection): void {
    if (connection.isClosed) return;
    connection.onClosed = () => this.#closed(connection);
    if (this.#connection === null) this.#serve(connection);
    else this.#waiting.push(connection);
  }

  /** Nobody will write any more. */
  discard(): void {
    this.#runtime.resume();
  }

  #serve(connection: VsockConnection): void {
    this.#connection = connection;
    connection.onData = (bytes) => {
      this.#fromHost.follow(bytes);
      if (!this.#runtime.write(bytes)) connection.hold();
    };
    connection.onDrain = () => this.#runtime.resume();
    this.#runtime.resume();
    connection.release();
  }

  #closed(connection: VsockConnection): void {
    const index = this.#waiting.indexOf(connection);
    if (index >= 0) this.#waiting.splice(index, 1);
    if (this.#connection !== connection) return;
    this.#connection = null;
    this.#runtime.pause();
    const next = this.#waiting.shift();
    if (next !== undefined) this.#serve(next);
  }
}
