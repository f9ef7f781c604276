/**
 * Dials unix sockets that lie in a directory of somebody else's, such as a jail. A VMM that was broken into can put a
 * link in the place of its socket, or exchange the two at any time; `connect` by name would follow it, to another VM's socket.
 * So the socket is opened first, without following links and without connecting, and what was opened is looked at.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { connect, type Socket } from 'node:net';

/** Opens the place and not the thing: the only way to open a socket. Node has no name for it. Source: open(2), fcntl.h. */
const O_PATH = 0o10000000;

/** What is in a socket's place is none, or another user's. */
export class ForeignSocketError extends Error {
  override readonly name = 'ForeignSocketError';
}

/**
 * Begins to connect; Linux only.
 *
 * @param ownerUid the only user whose socket it may be.
 * @throws ForeignSocketError; NodeJS.ErrnoException if nothing is there.
 */
export function connectOwned(path: string, ownerUid: number): Socket {
  const fd = openSync(path, O_PATH | constants.O_NOFOLLOW);
  try {
    const found = fstatSync(fd);
    if (!found.isSocket()) throw new ForeignSocketError(`${path} is no socket`);
    if (found.uid !== ownerUid) {
      throw new ForeignSocketError(`the socket ${path} belongs to user ${found.uid}, not to ${ownerUid}`);
    }
    // The kernel connects before this returns: unix sockets have no handshake.
    return connect({ path: `/proc/self/fd/${fd}` });
  } finally {
    closeSync(fd);
  }
}
