/**
 * Runs in firerunner. A control channel over a vsock connection that the guest may reset before it has answered: its kernel
 * resets all connections when it learns that it was restored, and may take ours for one of before.
 *
 * ```
 *   dialled ──first frame──▶ reached ──closed──▶ over
 *      │  ▲
 *      └──┘ closed: dialled again, and what was sent is sent again; a few times
 * ```
 */
import type { Socket } from 'node:net';
import type { Frame, FrameHeader } from '../../protocol/frame.ts';
import type { ControlChannel } from '../machine.ts';
import { FrameSocket } from '../guest/frame-socket.ts';

/** A guest that resets more connections has another reason for it. */
const MAX_REDIALS = 3;

type Sent = readonly [type: number, header: FrameHeader | undefined, payload: Uint8Array | undefined];

export class DialledControl implements ControlChannel {
  onFrame: (frame: Frame) => void = () => undefined;
  onClosed: (reason: string) => void = () => undefined;
  readonly #dial: () => Promise<Socket>;
  readonly #onReached: () => void;
  #channel: FrameSocket;
  /** What is to be sent again if the connection is reset; null once the guest has answered. */
  #unanswered: Sent[] | null = [];
  #redials = 0;
  #isOver = false;
  #isPaused = false;

  /**
   * @param socket connected, and not read from yet.
   * @param dial connects once more.
   * @param onReached called once, before the guest's first frame is handed on.
   */
  constructor(socket: Socket, dial: () => Promise<Socket>, onReached: () => void) {
    this.#dial = dial;
    this.#onReached = onReached;
    this.#channel = this.#listen(socket);
  }

  send(type: number, header?: FrameHeader, payload?: Uint8Array): void {
    this.#unanswered?.push([type, header, payload]);
    this.#channel.send(type, header, payload);
  }

  pause(): void {
    this.#isPaused = true;
    this.#channel.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#channel.resume();
  }

  /** Ends it from this side: no `onClosed` follows. */
  close(): void {
    this.#isOver = true;
    this.#channel.close();
  }

  #wasClosed(): boolean {
    return this.#isOver;
  }

  #listen(socket: Socket): FrameSocket {
    const channel = new FrameSocket(socket);
    channel.onFrame = (frame) => {
      if (this.#unanswered !== null) {
        this.#unanswered = null;
        this.#onReached();
      }
      this.onFrame(frame);
    };
    channel.onClosed = (reason) => void this.#onReset(reason);
    if (!this.#isPaused) socket.resume();
    return channel;
  }

  async #onReset(reason: string): Promise<void> {
    if (this.#isOver) return;
    if (this.#unanswered === null || ++this.#redials > MAX_REDIALS) return this.onClosed(reason);
    try {
      const socket = await this.#dial();
      if (this.#wasClosed()) return void socket.destroy();
      this.#channel = this.#listen(socket);
      for (const sent of this.#unanswered) this.#channel.send(...sent);
    } catch {
      // The VMM is gone, or the launch was called off.
      this.onClosed(reason);
    }
  }
}
