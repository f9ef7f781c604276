/** Runs in firerunner. A control channel over a unix socket. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame, FrameError, FrameReader, type Frame, type FrameHeader } from '../protocol/frame.ts';
import type { ControlChannel } from './drivers/driver.ts';

/** Largest control frame a guest may send, in bytes: logs come in pieces far below it. */
const MAX_CONTROL_FRAME_BYTES = 1024 * 1024;
/** Between two attempts to reach a socket that its VMM has not opened yet, in ms. */
const CONNECT_RETRY_MS = 2;

/** A frame stream on any connected socket, as the control channel the drivers promise. */
export class FrameSocket implements ControlChannel {
  onFrame: (frame: Frame) => void = () => undefined;
  onClosed: (reason: string) => void = () => undefined;
  readonly #socket: Socket;
  #open = true;

  constructor(socket: Socket) {
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

  #close(reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#socket.destroy();
    this.onClosed(reason);
  }
}

/**
 * Connects to a unix socket that another process is about to open.
 *
 * @throws the signal's reason when it aborts; any error other than "not there yet".
 */
export async function connectWhenOpen(path: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    signal.throwIfAborted();
    try {
      return await connectOnce(path);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT' && code !== 'ECONNREFUSED') throw error;
    }
    // An abort ends the sleep early; its own reason is thrown above, not the sleep's.
    await sleep(CONNECT_RETRY_MS, undefined, { signal }).catch(() => undefined);
  }
}

function connectOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
