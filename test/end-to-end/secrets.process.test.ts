/** What a function's environment holds is the function's: it is in no log, no status, no metric, no stream and no span. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { createWorkspace, startController } from '../support/snapctr.ts';

const SECRET = 'hunter2-3f9c1c0be7';
const PATIENCE = { maxWaitTime: 60, minDelay: 1, maxDelay: 1 } as const;
const CODE = `import os
def handle(event, context):
    assert os.environ['TOKEN'].startswith('hunter2')
    if event == 'fail':
        raise ValueError('as told')
    print('done', flush=True)
    return len(os.environ['TOKEN'])
`;

/** The first events of a stream that tells all there is. */
async function streamed(url: string): Promise<string> {
  const stop = new AbortController();
  const response = await fetch(`${url}/ui/stream`, { signal: stop.signal });
  assert.ok(response.body !== null);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (let pieces = 0; pieces < 1000 && !/event: full[^]*?\n\n/.test(text); pieces += 1) {
    const { value } = (await reader.read()) as { readonly value?: Uint8Array };
    if (value === undefined) break;
    text += decoder.decode(value, { stream: true });
  }
  stop.abort();
  return text;
}

test("a secret of a function's environment is told nowhere", async () => {
  const workspace = createWorkspace([]);
  const sent: Buffer[] = [];
  const collector = createServer((request, response) => {
    request.on('data', (piece: Buffer) => sent.push(piece));
    request.on('end', () => response.end('{}'));
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
  const data = join(workspace.directory, 'kept');
  const snapctr = await startController(workspace, {
    vmm: 'process',
    args: ['--data-dir', data, '--log-level', 'debug'],
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '50',
    },
  });
  const client = lambdaClient(snapctr.url, { maxAttempts: 1 });
  const FunctionName = 'keeper';
  const seen = new Map<string, string>();
  try {
    const ZipFile = makeZip([{ name: 'main.py', data: CODE }]);
    await client.send(
      new sdk.CreateFunctionCommand({
        ...{ FunctionName, Role: 'arn:aws:iam::000000000000:role/any', Runtime: 'python3.11', Handler: 'main.handle' },
        Code: { ZipFile },
        Environment: { Variables: { TOKEN: SECRET } },
      }),
    );
    await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
    assert.equal((await snapctr.invoke(FunctionName, 'work')).body, SECRET.length);
    assert.notEqual((await snapctr.invoke(FunctionName, 'fail')).status, 200);
    const broken = makeZip([{ name: 'main.py', data: 'raise ValueError("does not load")\n' }]);
    await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: broken }));
    await assert.rejects(sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName }));
    for (const path of ['/status', '/metrics']) seen.set(path, await (await fetch(`${snapctr.url}${path}`)).text());
    seen.set('/ui/stream', await streamed(snapctr.url));
  } finally {
    client.destroy();
    await snapctr.stop();
    collector.close();
    collector.closeAllConnections();
  }
  seen.set('spans', Buffer.concat(sent).toString());
  seen.set('the log', snapctr.log.join('\n'));
  // The record of the function holds its environment, for its owner alone.
  for (const entry of readdirSync(data, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !path.startsWith(join(data, 'functions'))) seen.set(path, readFileSync(path, 'latin1'));
  }
  assert.ok([...seen.keys()].some((path) => path.endsWith('.jsonl')));
  for (const [place, text] of seen) {
    assert.ok(text !== '', `there is nothing of ${place}`);
    assert.ok(!text.includes(SECRET), `it is in ${place}`);
  }
  for (const place of ['/metrics', '/ui/stream', 'spans', 'the log']) {
    assert.ok(seen.get(place)?.includes(FunctionName) === true, `${place} does not tell of the function`);
  }
  const record = readFileSync(join(data, 'functions', `${FunctionName}.json`), 'utf8');
  assert.ok(record.includes(SECRET));
  workspace.remove();
});
