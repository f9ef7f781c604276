/**
 * Function URLs beside our own interface, on warm VMs of the same function: an answer, and the first byte of a stream. An application
 * that listens on a port beside a handler of the same answer.
 */
import { createWorkspace, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark } from '../result.ts';
import { inTurns } from '../support/in-turns.ts';
import { ApiClient } from '../support/lambda-client.ts';

const ROUNDS = 1000;
const DISCARDED = 300;
const EVENT = '{"name":"Ada"}';

const SOURCE = `
exports.hello = async () => ({ statusCode: 200, headers: { 'content-type': 'text/plain' }, body: 'Hello, Ada!' });
exports.say = awslambda.streamifyResponse(async (event, output) => {
  const out = awslambda.HttpResponseStream.from(output, { statusCode: 200, headers: { 'content-type': 'text/plain' } });
  out.write('Hello, Ada!');
  out.end();
});
`;

const APPLICATION: TestFunction = {
  name: 'application',
  runtime: 'nodejs',
  files: {
    'server.js': `
require('node:http').createServer((request, response) => {
  request.resume().once('end', () => response.setHeader('content-type', 'text/plain').end('Hello, Ada!'));
}).listen(process.env.PORT);
`,
  },
  keys: { web: '{port: 3000}', url: '{auth: none, invoke_mode: buffered}' },
};

function urlFunction(handler: string, url: string): TestFunction {
  const keys = { handler: `index.${handler}`, url };
  return { name: handler, runtime: 'nodejs', files: { 'index.js': SOURCE }, keys };
}

/** Of each way in, how long requests take, in ms: one after the other on warm VMs. */
async function measure(vmm: 'qemu' | 'process') {
  const functions = [
    urlFunction('hello', '{auth: none}'),
    urlFunction('say', '{auth: none, invoke_mode: response_stream}'),
    APPLICATION,
  ];
  const workspace = createWorkspace(functions);
  const controller = await startController(workspace, { vmm, memoryMib: 512, snapshots: vmm === 'qemu' });
  const client = new ApiClient(controller.url);
  try {
    const native = async (): Promise<number> => (await client.native('hello', EVENT)).tookMs;
    const byUrl = async (): Promise<number> => (await client.byUrl('hello', EVENT)).tookMs;
    const stream = async (): Promise<number> => (await client.byUrl('say', EVENT)).firstByteMs;
    const toPort = async (): Promise<number> => (await client.byUrl(APPLICATION.name, EVENT)).tookMs;
    await inTurns(DISCARDED, [native, byUrl, stream, toPort]);
    const [own = [], url = [], first = [], port = []] = await inTurns(ROUNDS, [native, byUrl, stream, toPort]);
    return { own, url, first, port };
  } finally {
    client.close();
    await controller.stop();
    workspace.remove();
  }
}

function portResult(
  name: string,
  { url, port }: { readonly url: readonly number[]; readonly port: readonly number[] },
) {
  const note = `ms: application on a port ${summary(port)}; handler of the same answer ${summary(url)}`;
  return result(name, median(port) / median(url), 'ratio', { at: 'most', value: 1.5 }, [], note);
}

export const urls: Benchmark = {
  name: 'urls',
  async run() {
    const emulated = await measure('qemu');
    const { own, url, first } = emulated;
    const bound = { at: 'most', value: 1.2 } as const;
    const beside = `POST / ${summary(own)}`;
    return [
      result('urls-warm', median(url) / median(own), 'ratio', bound, [], `ms: URL ${summary(url)}; ${beside}`),
      result(
        'urls-first-byte',
        median(first) / median(own),
        'ratio',
        bound,
        [],
        `ms: first byte of a stream ${summary(first)}; ${beside}`,
      ),
      portResult('urls-port', emulated),
      // What an application takes on a processor that is not emulated.
      portResult('urls-port-process', await measure('process')),
    ];
  },
};
