/** Runs in firerunner. The device state of a machine, saved and loaded as one half of a migration; the memory is a file. */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { LaunchError } from '../machine.ts';
import { STATE_IN_FD } from './command-line.ts';
import type { Qmp } from './qmp.ts';

/** `events` makes QEMU tell of each step of a migration, so that nobody has to ask again and again. */
const MIGRATION_CAPABILITIES = {
  capabilities: ['x-ignore-shared', 'events'].map((capability) => ({ capability, state: true })),
};

/** The machine runs as soon as its state is loaded: it was started without `-S`. */
export async function loadState(qmp: Qmp, signal: AbortSignal): Promise<void> {
  const resumed = qmp.event(
    ({ name, data }) => name === 'RESUME' || (name === 'MIGRATION' && data['status'] === 'failed'),
    signal,
  );
  const [event] = await Promise.all([
    resumed,
    qmp.execute('migrate-set-capabilities', MIGRATION_CAPABILITIES),
    qmp.execute('migrate-incoming', { uri: `fd:${STATE_IN_FD}` }),
  ]);
  if (event.name !== 'RESUME') throw new Error('QEMU could not load the device state of the snapshot');
}

/**
 * QEMU stops the machine by itself, and notes that it ran: only then it runs at once after a restore. It writes to a socket
 * of ours, for it takes no path, and its sandbox allows it no other program.
 */
export async function saveState(qmp: Qmp, directory: string, statePath: string, signal: AbortSignal): Promise<void> {
  const socketPath = join(directory, 'state.sock');
  const server = createServer({ pauseOnConnect: true }).listen(socketPath);
  try {
    const connected = once(server, 'connection', { signal }) as Promise<[Socket]>;
    const over = qmp.event(
      ({ name, data }) => name === 'MIGRATION' && ['completed', 'failed', 'cancelled'].includes(String(data['status'])),
      signal,
    );
    const written = connected.then(([socket]) => pipeline(socket, createWriteStream(statePath, { mode: 0o600 })));
    const [event] = await Promise.all([
      over,
      written,
      qmp.execute('migrate-set-capabilities', MIGRATION_CAPABILITIES),
      qmp.execute('migrate', { uri: `unix:${socketPath}` }),
    ]);
    if (event.data['status'] === 'completed') return;
    const info = (await qmp.execute('query-migrate')) as { readonly 'error-desc'?: string };
    throw new LaunchError(`QEMU could not write the device state: ${info['error-desc'] ?? 'it gives no reason'}`);
  } finally {
    server.close();
  }
}
