/** Runs in firerunner. A control channel over a connected socket. */
import type { Duplex } from 'node:stream';
import { encodeFrame, FrameError, FrameReader, type Frame, type FrameHeader } from '../../protocol/frame.ts';
import type { ControlChannel } from '../machine.ts';

/** Largest control frame a guest may send, in bytes: init's are below 64 KiB. */
const MAX_CONTROL_FRAME_BYTES = 128 * 1024;

/** A frame stream on any connected socket, as the control channel the drivers promise. */
export class FrameSocket implements ControlChannel {
  onFrame: (frame: Frame) => void = () => undefined;
  onClosed: (reason: string) => void = () => undefined;
  readonly #socket: Duplex;
  #open = true;

  constructor(socket: Duplex) {
    this.#socket = socket;
    const reader = new FrameReader(MAX_CONTROL_FRAME_BYTES);
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) if (this.#open) this.onFrame(frame);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        this.#close(`the guest broke the control protocol: ${error.message}`);
      }
    });
    socket.on('error', (error) => this.#close(`the control channel failed: ${error.message}`));
    socket.on('close', () => this.#close('the control channel was closed'));
  }

  send(type: number, header?: FrameHeader, payload?: Uint8Array): void {
    if (this.#open) this.#socket.write(encodeFrame(type, header, payload));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Ends it from this side: no `onClosed` follows. */
  close(): void {
    this.onClosed = () => undefined;
    this.#close('');
  }

  #close(reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#socket.destroy();
    this.onClosed(reason);
  }
}
