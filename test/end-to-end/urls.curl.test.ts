/** Function URLs as `curl` uses them, by either address: uploads, heads, streams, connections and cookies. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { GetFunctionUrlConfigCommand } from '@aws-sdk/client-lambda';
import { noCompiler } from '../support/bootstrap.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { whyWithout } from '../support/needed-program.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import { urlFunctions } from '../support/url-functions.ts';

/** Counts by a cookie, and tells what it got. */
const JAR = `
exports.handler = async ({ cookies = [] }) => {
  const seen = Number(cookies.find((one) => one.startsWith('seen='))?.slice(5) ?? 0);
  return { statusCode: 200, headers: { 'content-type': 'text/plain' }, cookies: ['seen=' + (seen + 1) + '; Path=/'], body: String(seen) };
};
`;
const PORT = `
require('node:http').createServer(async (request, response) => {
  let bytes = 0;
  for await (const part of request) bytes += part.length;
  response.setHeader('content-length', String(request.method + ' ' + bytes).length).end(request.method + ' ' + bytes);
}).listen(process.env.PORT);
`;
const OWN: readonly TestFunction[] = [
  {
    name: 'jar',
    runtime: 'nodejs',
    files: { 'index.js': JAR },
    keys: { handler: 'index.handler', url: '{auth: none}' },
  },
  { name: 'port', runtime: 'nodejs', files: { 'server.js': PORT }, keys: { web: '{port: 3000}', url: '{auth: none}' } },
];
const NAMES = ['node-url', 'node-stream', 'jar', 'port'] as const;
const PATIENCE_S = '60';

interface Asked {
  readonly status: number | null;
  readonly text: string;
  readonly stderr: string;
  /** When each piece of the output came, in ms. */
  readonly times: readonly number[];
}

describe('function URLs by curl', { timeout: 240_000, skip: whyWithout('curl', 'curl') || noCompiler }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  const hosts = new Map<string, string>();

  before(async () => {
    workspace = createWorkspace([...urlFunctions(), ...OWN]);
    controller = await startController(workspace, { vmm: 'process' });
    const client = lambdaClient(controller.url);
    for (const FunctionName of NAMES) {
      const { FunctionUrl = '' } = await client.send(new GetFunctionUrlConfigCommand({ FunctionName }));
      hosts.set(FunctionName, new URL(FunctionUrl).host);
    }
    client.destroy();
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  async function curl(...args: readonly string[]): Promise<Asked> {
    // What a host of this machine's people has set is not looked at.
    const child = spawn('curl', ['-q', '-sS', '--noproxy', '*', '--max-time', PATIENCE_S, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const times: number[] = [];
    let [text, stderr] = ['', ''];
    child.stdout.setEncoding('latin1').on('data', (part: string) => {
      times.push(performance.now());
      text += part;
    });
    child.stderr.setEncoding('latin1').on('data', (part: string) => (stderr += part));
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, text, stderr, times };
  }

  /** The arguments that lead to a function: by its host, which is resolved by the command line, and by its path. */
  function addresses(name: (typeof NAMES)[number], path: string): readonly (readonly string[])[] {
    const host = hosts.get(name) ?? assert.fail(name);
    const [, port = ''] = host.split(':');
    return [
      ['--resolve', `${host}:127.0.0.1`, `http://${host}${path}`],
      ['--path-as-is', `http://127.0.0.1:${port}/url/${name}${path}`],
    ];
  }

  test('an upload of more than a megabyte waits for 100 Continue, and comes as it was', async () => {
    const bytes = Buffer.from(Array.from({ length: 3 << 20 }, (_, at) => (at * 7) & 255));
    const file = join(workspace.directory, 'upload');
    writeFileSync(file, bytes);
    const type = 'content-type: application/octet-stream';
    const expect = ['-H', 'expect: 100-continue', '--expect100-timeout', PATIENCE_S];
    for (const where of addresses('node-url', '/echo')) {
      const got = join(workspace.directory, 'download');
      const { status, stderr } = await curl(
        '-v',
        '-H',
        type,
        ...expect,
        '--data-binary',
        `@${file}`,
        '-o',
        got,
        ...where,
      );
      assert.equal(status, 0, stderr);
      assert.match(stderr, /< HTTP\/1\.1 100 Continue.*< HTTP\/1\.1 200 OK/s);
      assert.ok(readFileSync(got).equals(bytes));
    }
    for (const where of addresses('port', '/')) {
      const { text } = await curl('-H', type, ...expect, '-T', file, ...where);
      assert.equal(text, `PUT ${3 << 20}`);
    }
  });

  test('-I gets the head, and the connection goes on', async () => {
    for (const name of ['node-url', 'port'] as const) {
      for (const where of addresses(name, '/x')) {
        const { status, text, stderr } = await curl('-v', '-I', ...where, ...where);
        assert.equal(status, 0, stderr);
        assert.equal(text.match(/^HTTP\/1\.1 20[01] /gm)?.length, 2);
        assert.match(stderr, /Re-using existing .*connection/);
        if (name === 'port') assert.match(text, /^content-length: 6\r$/im);
        else assert.doesNotMatch(text, /^(?:content-length|transfer-encoding):/im);
      }
    }
  });

  test('-N shows a stream as it is written', async () => {
    for (const where of addresses('node-stream', '/events')) {
      const { status, text, times } = await curl('-N', ...where);
      assert.deepEqual([status, text], [0, 'data: 0\n\ndata: 1\n\ndata: 2\n\n']);
      // The function waits between events for longer than any of them may take.
      assert.ok((times.at(-1) ?? 0) - (times[0] ?? 0) >= 300);
    }
  });

  test('a stream that breaks off is an error', async () => {
    for (const where of addresses('node-stream', '/broken')) {
      const { status, text } = await curl('-N', ...where);
      assert.deepEqual([status, text], [18, 'half']);
    }
  });

  test('one connection serves requests of all kinds, one after another', async () => {
    for (const [index] of addresses('port', '').entries()) {
      const to = (name: (typeof NAMES)[number], path: string): readonly string[] => addresses(name, path)[index] ?? [];
      const next = ['--next', '-q', '-sS', '--noproxy', '*', '-w', '|%{http_code} %{num_connects}|', '-o', '/dev/null'];
      const first = next.slice(1);
      const { status, text } = await curl(
        ...[...first, ...to('node-url', '/a')],
        ...[...next, '-d', 'x=y', ...to('node-url', '/b')],
        ...[...next, '-I', ...to('node-url', '/c')],
        ...[...next, '-H', 'transfer-encoding: chunked', '-d', 'abc', ...to('node-url', '/d')],
      );
      assert.deepEqual([status, text], [0, '|201 1||201 0||201 0||201 0|']);
    }
  });

  test('a jar keeps the cookies of a function', async () => {
    for (const [index, where] of addresses('jar', '/').entries()) {
      const jar = join(workspace.directory, `jar-${index}`);
      for (const seen of ['0', '1', '2']) {
        const { status, text } = await curl('-b', jar, '-c', jar, ...where);
        assert.deepEqual([status, text], [0, seen]);
      }
      assert.match(readFileSync(jar, 'utf8'), /\tseen\t3\n/);
    }
  });
});
