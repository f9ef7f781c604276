/** Functions that answer over HTTP, in both languages. */
import type { TestFunction } from './snapctr.ts';

const NODE = `
export async function handler(event) {
  if (event.rawPath === '/echo') {
    return { statusCode: 200, isBase64Encoded: true, body: event.body, headers: { 'content-type': 'application/octet-stream' } };
  }
  const { rawPath: path, queryStringParameters: query, cookies, body } = event;
  return {
    statusCode: 201,
    headers: { 'content-type': 'application/json', 'X-Language': 'node' },
    cookies: ['one=1', 'two=2'],
    body: JSON.stringify({ path, query, cookies, body }),
  };
}
`;

const PYTHON = `
import json

def handler(event, context):
    if event['rawPath'] == '/echo':
        return {'statusCode': 200, 'isBase64Encoded': True, 'body': event['body'],
                'headers': {'content-type': 'application/octet-stream'}}
    told = {'path': event['rawPath'], 'query': event['queryStringParameters'], 'cookies': event['cookies'], 'body': event['body']}
    return {'statusCode': 201, 'headers': {'content-type': 'application/json', 'X-Language': 'python'},
            'cookies': ['one=1', 'two=2'], 'body': json.dumps(told)}
`;

const STREAM = `
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  switch (event.rawPath) {
    case '/sse':
    case '/events': {
      const out = awslambda.HttpResponseStream.from(stream, {
        statusCode: event.rawPath === '/sse' ? 200 : 207,
        headers: { 'Content-Type': 'text/event-stream' },
        cookies: ['s=1'],
      });
      for (let at = 0; at < 3; at += 1) {
        out.write('data: ' + at + '\\n\\n');
        await sleep(200);
      }
      out.end();
      return;
    }
    case '/redirect':
      awslambda.HttpResponseStream.from(stream, { statusCode: 302, headers: { location: '/elsewhere' } }).end();
      return;
    case '/broken':
      stream.write('half');
      await sleep(100);
      throw new Error('as asked');
    case '/early':
      throw new Error('as asked');
    case '/flood': {
      const part = Buffer.alloc(65536, 'x');
      for (let at = 0; at < 1600; at += 1) if (!stream.write(part)) await new Promise((resolve) => stream.once('drain', resolve));
      stream.end();
      return;
    }
    default:
      stream.setContentType('text/css');
      stream.write('a{}');
      stream.end();
  }
});
`;

export function urlFunctions(): readonly TestFunction[] {
  const keys = { handler: 'index.handler', timeout: 20 } as const;
  const open = '{auth: none}';
  const streamed = '{auth: none, invoke_mode: response_stream, cors: {allow_origins: ["*"], allow_methods: [GET]}}';
  return [
    { name: 'node-url', runtime: 'nodejs', files: { 'index.mjs': NODE }, keys: { ...keys, url: open } },
    { name: 'python-url', runtime: 'python3', files: { 'index.py': PYTHON }, keys: { ...keys, url: open } },
    { name: 'node-stream', runtime: 'nodejs', files: { 'index.mjs': STREAM }, keys: { ...keys, url: streamed } },
    {
      name: 'python-stream',
      runtime: 'python3',
      files: { 'index.py': "def handler(event, context):\n    return {'statusCode': 202, 'body': 'of python'}\n" },
      keys: { ...keys, url: streamed },
    },
  ];
}
