/** Runs in snapctr. Asks for an address before anything is started that would have to be ended again. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { listenFailure } from './http-problems.ts';

/**
 * @returns the address that the host is.
 * @throws Error that says why nobody can listen there now, and what to do.
 */
export async function checkAddress(host: string, port: number): Promise<string> {
  const server = createServer();
  try {
    server.listen({ host, port, exclusive: true });
    await once(server, 'listening');
    const bound = server.address();
    return typeof bound === 'object' && bound !== null ? bound.address : host;
  } catch (error) {
    throw listenFailure(error instanceof Error ? error : new Error(String(error)), host, port);
  } finally {
    server.close();
  }
}
