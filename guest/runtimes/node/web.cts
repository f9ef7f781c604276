/**
 * Run before an application that listens on a port (`NODE_OPTIONS=--require`, in VMs only): seals and renews its random generators
 * around a snapshot, as the server beside it says (`guest/runtime-api/reseed.c`).
 */
import net = require('node:net');
import { renewGenerators, sealGenerators } from './generation.cjs';
import { useOpenSsl } from './generators.cjs';
import { prepareThread } from './threads.cjs';

const FD_VARIABLE = '_SNAPFAAS_RESEED_FD';
const HERE = 'h';
const SEAL = 's';
const RENEW = 'r';

const fd = process.env[FD_VARIABLE];
if (fd !== undefined) {
  // Of processes that this one starts each has generators of its own, and none is asked.
  Reflect.deleteProperty(process.env, FD_VARIABLE);
  prepareThread();
  const socket = new net.Socket({ fd: Number(fd), readable: true, writable: true });
  socket.unref();
  socket.on('error', () => undefined);
  socket.on('data', (words: Buffer) => {
    for (const word of words.toString('latin1')) {
      if (word === RENEW) renewGenerators();
      if (word !== SEAL) continue;
      sealGenerators();
      useOpenSsl();
      socket.write(SEAL);
    }
  });
  socket.write(HERE);
}
