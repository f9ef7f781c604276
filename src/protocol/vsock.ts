/**
 * Runs in snapctr and in firerunner. Dials a port of a guest through the unix socket that Firecracker puts in front of
 * its vsock device:
 *
 * ```
 *   host → VMM    CONNECT PORT\n
 *   host ← VMM    OK HOSTPORT\n, then the guest's own bytes
 * ```
 *
 * Source: Firecracker, docs/vsock.md. Nobody who listens at the port: the VMM closes the connection without a word. No guest
 * driver yet, or a paused guest: it says nothing at all. So each attempt has a time limit, and whoever dials tries again.
 */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectOwned, ForeignSocketError } from './owned-socket.ts';
import type { GuestAddress } from './runner.ts';

/** Longest answer, "OK 4294967295\n" and some room, in bytes. */
const MAX_ANSWER_BYTES = 32;
const NEWLINE = 0x0a;
/** First pause between two attempts, and the longest, in ms; each is twice as long as the one before. */
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 20;
/** How long the VMM may take to answer, in ms; it gives the guest 2 s itself. */
const ANSWER_LIMIT_MS = 2500;

/** The VMM did not connect us to the guest. */
export class VsockError extends Error {
  override readonly name = 'VsockError';
}

/** The line that asks the VMM for a port; must be sent in one write. */
export function connectRequest(port: number): Buffer {
  return Buffer.from(`CONNECT ${port}\n`);
}

/** Takes the VMM's answer apart from the guest's bytes, which may come in the same piece. */
export class ConnectAnswer {
  #received: Buffer = Buffer.alloc(0);

  /**
   * @returns the guest's first bytes once the answer is complete (may be none); null: more is to come.
   * @throws VsockError if it is no `OK` line.
   */
  push(chunk: Buffer): Buffer | null {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const end = this.#received.indexOf(NEWLINE);
    if (end === -1 && this.#received.length < MAX_ANSWER_BYTES) return null;
    const isTooLong = end === -1 || end >= MAX_ANSWER_BYTES;
    const line = this.#received.toString('latin1', 0, isTooLong ? MAX_ANSWER_BYTES : end);
    if (isTooLong || !/^OK \d+$/.test(line)) {
      throw new VsockError(`the VMM answered CONNECT with ${JSON.stringify(line)}; OK and a port were expected`);
    }
    return this.#received.subarray(end + 1);
  }
}

/**
 * Connects until the guest listens.
 *
 * @param signal ends the attempts, with its reason; nothing is left open then.
 * @throws ForeignSocketError if the socket is not its owner's.
 * @returns a socket whose next bytes are the guest's, paused until somebody reads it.
 */
export async function dialVsock(
  address: GuestAddress & { readonly vsockPort: number },
  signal: AbortSignal,
): Promise<Socket> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const socket = await attempt(address, signal);
    if (socket !== null) return socket;
    await sleep(pauseMs, undefined, { signal }).catch(() => {
      throw signal.reason;
    });
  }
}

/** @returns null if nobody listens yet. */
function attempt(
  { socketPath, vsockPort, ownerUid }: GuestAddress & { readonly vsockPort: number },
  signal: AbortSignal,
): Promise<Socket | null> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    let socket: Socket;
    try {
      socket = connectOwned(socketPath, ownerUid ?? process.getuid?.() ?? 0);
    } catch (error) {
      // Nothing is there yet.
      if (error instanceof ForeignSocketError) return reject(error);
      return resolve(null);
    }
    const answer = new ConnectAnswer();
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.removeAllListeners('data').removeAllListeners('close').removeAllListeners('error');
    };
    const close = (): void => {
      settle();
      socket.on('error', () => undefined).destroy();
    };
    const fail = (error: Error): void => {
      close();
      reject(error);
    };
    const retry = (): void => {
      close();
      resolve(null);
    };
    const onAbort = (): void => fail(signal.reason instanceof Error ? signal.reason : new VsockError('called off'));
    const timer = setTimeout(retry, ANSWER_LIMIT_MS);
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('error', retry);
    socket.on('close', retry);
    socket.once('connect', () => socket.write(connectRequest(vsockPort)));
    socket.on('data', (chunk: Buffer) => {
      try {
        const rest = answer.push(chunk);
        if (rest === null) return;
        socket.pause();
        settle();
        if (rest.length > 0) socket.unshift(rest);
        resolve(socket);
      } catch (error) {
        fail(error instanceof Error ? error : new VsockError(String(error)));
      }
    });
  });
}
