/** What verifying a signature costs a warm Invoke: signed requests, and such with a bearer token, to the same VM. */
import { join } from 'node:path';
import { addKey, type Key } from '../../src/auth/key-file.ts';
import { signed } from '../../test/auth/requests.ts';
import { createWorkspace, startController } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark } from '../result.ts';
import { ApiClient } from '../support/lambda-client.ts';

const ROUNDS = 1000;
const DISCARDED = 300;
/** Requests to one of them in a row. */
const BLOCK = 50;
const EVENT = '{"name":"Ada"}';
const SOURCE = 'exports.hello = async (event) => ({ message: `Hello, ${event.name}!` });';

export const signatures: Benchmark = {
  name: 'signatures',
  async run() {
    const hello = { runtime: 'nodejs', files: { 'index.js': SOURCE }, keys: { handler: 'index.hello' } } as const;
    const workspace = createWorkspace([{ name: 'hello', ...hello }]);
    const keys = join(workspace.directory, 'keys.json');
    const key = await addKey(keys, { name: 'bench', role: 'invoke', functions: ['hel*'] });
    const { id, secret } = await addKey(keys, { name: 'status', role: 'admin', functions: ['*'] });
    const token = `${id}.${secret}`;
    const options = { vmm: 'qemu', memoryMib: 256, snapshots: true } as const;
    const controller = await startController(workspace, { ...options, args: ['--keys', keys], token });
    const { url } = controller;
    const { host } = new URL(url);
    const clients = [
      new ApiClient(url, (path, body) => signedHeaders(path, body, host, key)),
      new ApiClient(url, () => ({ authorization: `Bearer ${token}` })),
    ];
    try {
      const samples: readonly number[][] = clients.map(() => []);
      for (let done = -DISCARDED; done < ROUNDS; done += BLOCK) {
        for (const [index, client] of clients.entries()) {
          for (let i = 0; i < BLOCK; i += 1) {
            const { tookMs } = await client.invoke('hello', EVENT);
            if (done >= 0) samples[index]?.push(tookMs);
          }
        }
      }
      const [bySignature = [], byToken = []] = samples;
      const value = median(bySignature) / median(byToken);
      const note = `ms: by signature ${summary(bySignature)}; by token ${summary(byToken)}`;
      return [result('signature', value, 'ratio', { at: 'most', value: 1.1 }, [], note)];
    } finally {
      for (const client of clients) client.close();
      await controller.stop();
      workspace.remove();
    }
  },
};

function signedHeaders(
  path: string,
  body: string,
  host: string,
  key: Pick<Key, 'id' | 'secret'>,
): Readonly<Record<string, string>> {
  const { rawHeaders } = signed('POST', path, body, { key, at: Date.now(), headers: { host } });
  const headers: Record<string, string> = {};
  for (let at = 0; at < rawHeaders.length; at += 2) headers[rawHeaders[at] ?? ''] = rawHeaders[at + 1] ?? '';
  return headers;
}
