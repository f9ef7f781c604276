/** An application on a port behind the server of the Runtime API, under sanitizers: whatever it answers, or does not. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame, type Frame, type FrameHeader } from '../../src/protocol/frame.ts';
import { FrameType, STREAM_WINDOW_BYTES, type InvokeHeader, type LoadRequest } from '../../src/protocol/guest.ts';
import { noCompiler } from '../support/bootstrap.ts';
import { freePort } from '../support/free-port.ts';
import { failureOf, GuestProcess, runningGuests } from '../support/guest-process.ts';
import { SanitizedRuntimeApi } from '../support/sanitized-runtime-api.ts';

const ZEROS = Buffer.alloc(8);

/** Answers over HTTP by hand, so that it can do so badly. */
const SERVER = `
const net = require('node:net');
const http = require('node:http');
const longHop = 'X-' + 'h'.repeat(200);
const raw = {
  '/nonsense': 'SSH-2.0-x\\r\\n\\r\\n',
  '/status': 'HTTP/1.1 2x0 OK\\r\\n\\r\\n',
  '/two-lengths': 'HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\nContent-Length: 2\\r\\n\\r\\nab',
  '/chunks': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\n',
  '/cut': 'HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nhalf',
  '/empty': '',
  '/switch': 'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: x\\r\\n\\r\\n',
  '/long-head': 'HTTP/1.1 200 OK\\r\\nx: ' + 'x'.repeat(70000) + '\\r\\n\\r\\n',
  '/many': 'HTTP/1.1 200 OK\\r\\n' + 'x: y\\r\\n'.repeat(1000) + 'set-cookie: a=b\\r\\n'.repeat(1000) + 'x-last: z\\r\\n\\r\\n',
  '/too-many': 'HTTP/1.1 200 OK\\r\\n' + 'x: y\\r\\n'.repeat(4097) + '\\r\\n',
  '/until-end': 'HTTP/1.0 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\nuntil the end',
  '/interim': 'HTTP/1.1 103 Early Hints\\r\\nlink: <a>\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok',
  '/headers': 'HTTP/1.1 200 Fine\\r\\nX-Two: 1\\r\\nx-two: 2\\r\\nSet-Cookie: a=1\\r\\nSet-Cookie: b="2"\\r\\nX-Latin: caf\\xe9\\r\\n' +
    'Connection: close\\r\\nX-Hop: 1\\r\\nConnection: X-Hop, ' + longHop + '\\r\\n' + longHop + ': 1\\r\\nContent-Length: 0\\r\\ncontent-length: 0\\r\\n\\r\\n',
};
const server = http.createServer((request, response) => {
  const parts = [];
  const path = request.url.split('?')[0];
  if (path === '/early') return response.writeHead(413).end('too much');
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    if (path in raw) return request.socket.end(Buffer.from(raw[path], 'latin1'));
    if (path === '/exit') process.exit(3);
    if (path === '/kill') process.kill(process.pid, 'SIGKILL');
    if (path === '/close') return server.close(), server.closeAllConnections();
    if (path === '/large') return response.end(Buffer.alloc(7 << 20));
    if (path === '/echo') return response.setHeader('content-type', request.headers['content-type'] ?? 'x/y'), response.end(body);
    if (path === '/parts') return response.write('one '), setTimeout(() => response.end('two'), 50);
    if (path === '/events') {
      const { status = 200, text } = JSON.parse(body.toString());
      return response.writeHead(status, { 'content-type': 'application/json' }).end(text);
    }
    if (path === '/none') return response.writeHead(204).end();
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method: request.method, url: request.url, raw: request.rawHeaders, length: body.length }));
  });
});
setInterval(() => undefined, 1000);
server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('listening'));
`;

/** As `web.c` has them. */
const REUSE_MS = 1000;
const RECEIVED_AT_ONCE = 64 * 1024;
/** Tells which connection each request came on. */
const COUNTING = `
const http = require('node:http');
let count = 0;
const open = new Set();
const server = http.createServer((request, response) => {
  const path = request.url.split('?')[0];
  const { socket } = request;
  response.setHeader('x-connection', socket.number);
  const raw = (line, headers) => socket.write(line + '\\r\\nx-connection: ' + socket.number + '\\r\\n' + headers + '\\r\\n');
  if (path === '/early') return response.writeHead(413).end('too much');
  request.resume().on('end', () => {
    if (path === '/open') return response.end(String(open.size));
    if (path === '/none') return response.writeHead(204).end();
    if (path === '/parts') return response.write('one '), setTimeout(() => response.end('two'), 20);
    if (path === '/closes') return response.setHeader('connection', 'close').end('x');
    if (path === '/says-nothing') return raw('HTTP/1.1 200 OK', 'content-length: 0\\r\\n');
    if (path === '/old') return raw('HTTP/1.0 200 OK', 'content-length: 0\\r\\nkeep-alive: timeout=9\\r\\n');
    if (path === '/short') return raw('HTTP/1.1 200 OK', 'content-length: 0\\r\\nKeep-Alive: timeout=1\\r\\n');
    if (path === '/lies') return response.end('x', () => socket.destroy());
    response.end('x');
  });
});
server.on('connection', (socket) => {
  socket.number = count += 1;
  open.add(socket);
  socket.on('close', () => open.delete(socket));
});
server.listen(Number(process.env.PORT), '127.0.0.1');
`;

/** With what no header may have, of which JSON escapes the second alone. */
const REQUEST_ID = 'r\u007f\u0001 é';

interface Asked {
  readonly method?: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly cookies?: readonly string[];
  readonly body?: Buffer | string;
}

function event(path: string, { method = 'GET', query = '', headers = {}, cookies, body }: Asked = {}): string {
  return JSON.stringify({
    version: '2.0',
    rawPath: path,
    rawQueryString: query,
    headers: { host: 'h', ...headers },
    ...(cookies === undefined ? {} : { cookies }),
    requestContext: { http: { method, path }, requestId: REQUEST_ID },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : body.toString('base64') }),
    isBase64Encoded: Buffer.isBuffer(body),
  });
}

interface Read {
  readonly head: { readonly statusCode: number; readonly headers: Record<string, string>; readonly cookies?: string[] };
  readonly body: Buffer;
}

function read(frame: Frame): Read {
  const { payload, type } = frame;
  if (type === FrameType.failure) assert.fail(JSON.stringify(failureOf(frame)));
  const end = payload.indexOf(ZEROS);
  return { head: JSON.parse(payload.toString('utf8', 0, end)) as Read['head'], body: payload.subarray(end + 8) };
}

describe('an application on a port', { skip: noCompiler }, () => {
  let api: SanitizedRuntimeApi;

  before(() => {
    api = new SanitizedRuntimeApi();
  });

  after(() => {
    assert.equal(runningGuests(), 0);
    api.remove();
  });

  const start = (server = SERVER): Promise<GuestProcess> => api.start({ 'server.js': server });
  const load = (guest: GuestProcess, command: readonly string[] = [process.execPath, 'server.js']): Promise<Frame> =>
    guest.load({ handler: 'server.js', style: 'lambda', web: { port: 3000, command, max_concurrency: 1 } });

  async function withServer(work: (guest: GuestProcess) => Promise<void>): Promise<void> {
    const guest = await start();
    assert.equal((await load(guest)).type, FrameType.loaded);
    await work(guest);
    assert.deepEqual(await guest.stop(), { status: 0, signal: null });
  }

  const ask = (guest: GuestProcess, path: string, asked: Asked = {}, header: Partial<InvokeHeader> = {}) =>
    guest.invoke(event(path, asked), { http: true, ...header });

  test('gets the request that the event tells of', () =>
    withServer(async (guest) => {
      const { head, body } = read(
        await ask(guest, '/a b/%41//../ä#?\r\n', {
          method: 'PATCH',
          query: 'q=1&q=2 3',
          cookies: ['a=1', 'b="2"'],
          headers: { 'x-a': 'caf\u00e9\r\nX-B: 1', 'bad name': '1', 'content-length': '99', 'transfer-encoding': 'x' },
          body: 'text ü',
        }),
      );
      assert.equal(head.statusCode, 200);
      const { raw, ...rest } = JSON.parse(body.toString()) as { raw: string[] };
      assert.deepEqual(rest, { method: 'PATCH', url: '/a%20b/%41//../%C3%A4%23?%0D%0A?q=1&q=2%203', length: 7 });
      const context = raw.indexOf('x-amzn-request-context');
      assert.equal((JSON.parse(raw[context + 1] ?? '') as { requestId: string }).requestId, REQUEST_ID);
      raw.splice(context, 2);
      assert.deepEqual(raw, [
        ...['host', 'h', 'x-a', 'caf\u00e9  X-B: 1', 'cookie', 'a=1; b="2"'],
        ...['content-length', '7'],
      ]);
    }));

  test('answers with its own status, headers and cookies', () =>
    withServer(async (guest) => {
      const { head, body } = read(await ask(guest, '/headers'));
      assert.deepEqual(head, {
        statusCode: 200,
        headers: { 'x-two': '1, 2', 'x-latin': 'caf\u00e9', 'content-length': '0' },
        cookies: ['a=1', 'b="2"'],
      });
      assert.equal(body.length, 0);
      const many = read(await ask(guest, '/many')).head;
      assert.deepEqual([many.headers['x']?.length, many.cookies?.length, many.headers['x-last']], [2998, 1000, 'z']);
      assert.equal(read(await ask(guest, '/until-end')).body.toString(), 'until the end');
      assert.equal(read(await ask(guest, '/interim')).body.toString(), 'ok');
      assert.equal(read(await ask(guest, '/none')).head.statusCode, 204);
      assert.equal(read(await ask(guest, '/', { method: 'HEAD' })).body.length, 0);
    }));

  test('bodies of six megabytes go both ways, and one that is not read', () =>
    withServer(async (guest) => {
      const bytes = Buffer.alloc((4.5 * 1024 - 1) * 1024, 'äb\u0000');
      assert.ok(read(await ask(guest, '/echo', { method: 'POST', body: bytes })).body.equals(bytes));
      const text = 'x'.repeat(5 << 20);
      assert.equal(read(await ask(guest, '/echo', { method: 'POST', body: text })).body.toString(), text);
      assert.equal(failureOf(await ask(guest, '/large')).type, 'Function.ResponseSizeTooLarge');
      assert.equal(read(await ask(guest, '/early', { method: 'POST', body: bytes })).head.statusCode, 413);
      assert.equal(read(await ask(guest, '/none')).head.statusCode, 204);
    }));

  test('its answer goes on in parts where they are taken', () =>
    withServer(async (guest) => {
      guest.send(event('/parts'), { http: true, stream: true });
      const first = await guest.nextFunctionFrame();
      assert.deepEqual(first.header, { content_type: 'application/vnd.snapfaas.http-response' });
      assert.equal(read(first).head.statusCode, 200);
      assert.equal((await guest.nextFunctionFrame()).payload.toString(), 'one ');
      assert.equal((await guest.nextFunctionFrame()).payload.toString(), 'two');
      assert.equal((await guest.nextFunctionFrame()).type, FrameType.result);
      guest.send(event('/cut'), { http: true, stream: true });
      await guest.nextFunctionFrame();
      assert.equal((await guest.nextFunctionFrame()).payload.toString(), 'half');
      assert.equal(failureOf(await guest.nextFunctionFrame()).type, 'Web.BadResponse');
    }));

  test('a caller that wants JSON gets the payload format 2.0', () =>
    withServer(async (guest) => {
      const json = async (path: string, asked: Asked = {}): Promise<Record<string, unknown>> =>
        JSON.parse((await ask(guest, path, asked, { http: false, strict: true })).payload.toString()) as Record<
          string,
          unknown
        >;
      const bytes = await json('/echo', { method: 'POST', body: Buffer.from([0, 255, 1, 2]) });
      assert.deepEqual([bytes['body'], bytes['isBase64Encoded']], ['AP8BAg==', true]);
      const text = await json('/echo', { method: 'POST', body: '"ü"\n', headers: { 'content-type': 'text/x; a=b' } });
      assert.deepEqual([text['body'], text['isBase64Encoded'], text['statusCode']], ['"ü"\n', false, 200]);
    }));

  test('other events are posted to /events', () =>
    withServer(async (guest) => {
      assert.equal((await guest.invoke('{"text":"[1]"}', { strict: true })).payload.toString(), '[1]');
      assert.equal((await guest.invoke('{"text":""}', { strict: true })).payload.toString(), 'null');
      assert.equal(failureOf(await guest.invoke('{"text":"{"}', { strict: true })).type, 'Runtime.MarshalError');
      assert.equal(failureOf(await guest.invoke('{"status":503}')).type, 'Web.ServerError');
    }));

  test('what is no answer over HTTP is told, and the next request has one', () =>
    withServer(async (guest) => {
      for (const path of [
        '/nonsense',
        '/status',
        '/two-lengths',
        '/chunks',
        '/cut',
        '/switch',
        '/long-head',
        '/too-many',
      ])
        assert.equal(failureOf(await ask(guest, path)).type, 'Web.BadResponse', path);
      assert.equal(failureOf(await ask(guest, '/empty')).type, 'Web.NoResponse');
      assert.equal(failureOf(await ask(guest, '/x', { method: 'A B' })).type, 'Web.BadRequest');
      assert.equal(read(await ask(guest, '/none')).head.statusCode, 204);
    }));

  test('a connection goes on to the next request where the application says that it keeps it', async () => {
    const guest = await start(COUNTING);
    assert.equal((await load(guest)).type, FrameType.loaded);
    let asked = 0;
    const connectionOf = async (path: string, options: Asked = {}): Promise<number> => {
      const { head } = read(await ask(guest, `${path}?${(asked += 1)}`, options));
      return Number(head.headers['x-connection']);
    };
    const first = await connectionOf('/');
    for (const options of [{ method: 'HEAD' }, { method: 'POST', body: 'x'.repeat(100_000) }, { method: 'POST' }, {}]) {
      assert.equal(await connectionOf('/', options), first, JSON.stringify(options.method));
    }
    assert.equal(await connectionOf('/none'), first);
    assert.equal(await connectionOf('/parts'), first);
    await sleep(REUSE_MS + 300);
    const { body } = read(await ask(guest, '/open'));
    // The one that this is asked on.
    assert.equal(body.toString(), '1');
    for (const path of ['/closes', '/says-nothing', '/old', '/short', '/lies']) {
      const before = await connectionOf(path);
      await sleep(50);
      assert.ok((await connectionOf('/')) > before, path);
    }
    // An answer that comes before its request has been read.
    await connectionOf('/early', { method: 'POST', body: 'x'.repeat(5_000_000) });
    await connectionOf('/', { method: 'POST', body: 'x' });
    assert.deepEqual(await guest.stop(), { status: 0, signal: null });
  });

  test('one that closes its port is told of', () =>
    withServer(async (guest) => {
      assert.equal(failureOf(await ask(guest, '/close')).type, 'Web.NoResponse');
      assert.match(failureOf(await ask(guest, '/')).type, /^Web\.(NotListening|NoResponse)$/);
    }));

  test('the end of the application is the end of its VM', async () => {
    for (const [path, expected] of [
      ['/exit', { status: 3, signal: null }],
      ['/kill', { status: null, signal: 'SIGKILL' }],
    ] as const) {
      const guest = await start();
      assert.equal((await load(guest)).type, FrameType.loaded);
      guest.send(event(path), { http: true });
      await assert.rejects(guest.nextFunctionFrame());
      assert.deepEqual(await guest.exited, expected);
    }
  });

  test('one that cannot be started, or ends before it listens, is told of', async () => {
    const missing = await start();
    const failed = await load(missing, ['./nothing']);
    assert.equal(failed.type, FrameType.loadFailed);
    assert.equal(failureOf(failed).type, 'Runtime.InvalidEntrypoint');
    const short = await start('process.exit(4)');
    await assert.rejects(load(short));
    assert.deepEqual(await short.exited, { status: 4, signal: null });
  });
});

/** Answers when it is told to. */
const SEVERAL = `
const http = require('node:http');
const held = new Map();
const server = http.createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const name = searchParams.get('name');
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    if (pathname === '/hold') {
      response.on('close', () => held.delete(name));
      return held.set(name, response);
    }
    if (pathname === '/held') return response.end([...held.keys()].sort().join());
    if (pathname === '/release') {
      held.get(name).end('released ' + name);
      return response.end();
    }
    if (pathname === '/flood') return flood(response);
    if (pathname === '/written') return response.end(String(written));
    if (pathname === '/hang-up') return request.socket.destroy();
    if (pathname === '/end') {
      for (const each of held.values()) each.end('the last');
      return response.end('the end', () => setTimeout(() => process.exit(5), 20));
    }
    if (pathname === '/exit') process.exit(3);
    if (pathname === '/large') return response.end(Buffer.alloc(3 << 20, name));
    response.end(Buffer.concat(parts));
  });
});
let written = 0;
async function flood(response) {
  const part = Buffer.alloc(64 * 1024, 'x');
  let isOpen = true;
  let wake = () => undefined;
  response.on('drain', () => wake());
  response.on('close', () => ((isOpen = false), wake()));
  while (isOpen) {
    written += part.length;
    if (!response.write(part)) await new Promise((resolve) => (wake = resolve));
  }
}
server.listen(Number(process.env.PORT), '127.0.0.1');
`;

describe('an application on a port that gets several requests at once', { skip: noCompiler }, () => {
  let api: SanitizedRuntimeApi;

  before(() => {
    api = new SanitizedRuntimeApi();
  });

  after(() => {
    assert.equal(runningGuests(), 0);
    api.remove();
  });

  const start = async (slots = 4, output: LoadRequest['output'] = 'pipes'): Promise<GuestProcess> => {
    const guest = await api.start({ 'server.js': SEVERAL });
    const web = { port: 3000, command: [process.execPath, 'server.js'], max_concurrency: slots };
    // Without a VM each process has a port of its own, with one this one is the host's.
    const { port } = output === 'pipes' ? { port: await freePort() } : web;
    const loaded = await guest.load({ handler: 'server.js', style: 'lambda', output, web: { ...web, port } });
    assert.equal(loaded.type, FrameType.loaded);
    return guest;
  };

  const withServer = async (work: (guest: GuestProcess) => Promise<void>, slots = 4): Promise<void> => {
    const guest = await start(slots);
    await work(guest);
    assert.deepEqual(await guest.stop(), { status: 0, signal: null });
  };

  const send = (
    guest: GuestProcess,
    slot: number,
    path: string,
    { stream, ...asked }: Asked & { stream?: boolean } = {},
  ) => {
    const [pathname = '', query = ''] = path.split('?');
    const header = {
      id: `of ${slot}`,
      http: true,
      ...(slot > 0 ? { slot } : {}),
      ...(stream === true ? { stream } : {}),
    };
    guest.send(event(pathname, { query, ...asked }), header);
  };
  const slotOf = ({ header }: Frame): unknown => header['slot'] ?? 0;
  /** The next frame, which is an answer in this slot. */
  const answered = async (guest: GuestProcess, slot: number): Promise<string> => {
    const frame = await guest.nextFunctionFrame();
    assert.equal(slotOf(frame), slot);
    return read(frame).body.toString();
  };
  const say = (guest: GuestProcess, type: number, header: FrameHeader): void =>
    void guest.functionChannel.write(encodeFrame(type, header));
  /** Until those are held, which is asked in this slot. */
  const holds = async (guest: GuestProcess, slot: number, names: string): Promise<void> => {
    for (let found = ''; found !== names;) {
      send(guest, slot, '/held');
      found = await answered(guest, slot);
    }
  };

  test('answers in the order in which it likes, each in its slot, and init is told of each that begins', () =>
    withServer(async (guest) => {
      for (const [slot, name] of ['a', 'b', 'c'].entries()) send(guest, slot, `/hold?name=${name}`);
      await holds(guest, 3, 'a,b,c');
      for (const [slot, name] of [
        [1, 'b'],
        [2, 'c'],
        [0, 'a'],
      ] as const) {
        send(guest, 3, `/release?name=${name}`);
        const both = [await guest.nextFunctionFrame(), await guest.nextFunctionFrame()];
        const released = both.find((frame) => slotOf(frame) === slot);
        assert.ok(released !== undefined && both.some((frame) => slotOf(frame) === 3));
        assert.equal(read(released).body.toString(), `released ${name}`);
        // Its slot is free at once.
        send(guest, slot, '/echo', { method: 'POST', body: `again ${name}` });
        assert.equal(await answered(guest, slot), `again ${name}`);
      }
      for (let begun = 0; begun < 9; begun += 1) assert.equal((await guest.nextControlFrame()).type, FrameType.begun);
      assert.deepEqual(guest.doneHeaders, []);
    }));

  test('large bodies go both ways in all slots', () =>
    withServer(async (guest) => {
      const bodies = ['a', 'b', 'c', 'd'].map((text) => text.repeat(2 << 20));
      for (const [slot, body] of bodies.entries()) send(guest, slot, '/echo', { method: 'POST', body });
      const answers = new Map<unknown, string>();
      while (answers.size < bodies.length) {
        const frame = await guest.nextFunctionFrame();
        answers.set(slotOf(frame), read(frame).body.toString());
      }
      for (const [slot, body] of bodies.entries()) assert.ok(answers.get(slot) === body, `slot ${slot}`);
    }));

  test('of a stream it sends no more than a window ahead of what is taken, and others go on meanwhile', () =>
    withServer(async (guest) => {
      send(guest, 1, '/flood', { stream: true });
      const head = await guest.nextFunctionFrame();
      assert.deepEqual(head.header, { slot: 1, content_type: 'application/vnd.snapfaas.http-response' });
      let sent = head.payload.length;
      /** Asks for something else, and counts what comes of the stream until that is answered. */
      const askOther = async (path: string, asked: Asked = {}): Promise<string> => {
        send(guest, 0, path, asked);
        for (;;) {
          const frame = await guest.nextFunctionFrame();
          if (slotOf(frame) === 0) return read(frame).body.toString();
          assert.deepEqual([frame.type, slotOf(frame)], [FrameType.chunk, 1]);
          sent += frame.payload.length;
        }
      };
      const comesTo = async (bytes: number): Promise<void> => {
        while (sent < bytes) await askOther('/echo', { method: 'POST', body: 'x' });
        for (let round = 0; round < 20; round += 1) {
          assert.equal(await askOther('/echo', { method: 'POST', body: `${round}` }), `${round}`);
        }
        assert.ok(sent < bytes + RECEIVED_AT_ONCE, `${sent} bytes`);
      };
      await comesTo(STREAM_WINDOW_BYTES);
      for (let round = 2; round <= 8; round += 1) {
        say(guest, FrameType.taken, { slot: 1, bytes: STREAM_WINDOW_BYTES });
        await comesTo(round * STREAM_WINDOW_BYTES);
      }
      assert.ok(Number(await askOther('/written')) >= sent - head.payload.length);
      say(guest, FrameType.cancel, { slot: 1 });
      for (;;) {
        const frame = await guest.nextFunctionFrame();
        assert.equal(slotOf(frame), 1);
        if (frame.type === FrameType.chunk) continue;
        assert.equal(failureOf(frame).type, 'Web.Cancelled');
        break;
      }
      send(guest, 1, '/echo', { method: 'POST', body: 'free' });
      assert.equal(await answered(guest, 1), 'free');
    }));

  test('one that is called off is hung up on, and answered once; what is said of a free slot means nothing', () =>
    withServer(async (guest) => {
      say(guest, FrameType.cancel, { slot: 2 });
      say(guest, FrameType.taken, { slot: 2, bytes: 5 });
      send(guest, 2, '/hold?name=x');
      await holds(guest, 0, 'x');
      say(guest, FrameType.cancel, { slot: 2 });
      const frame = await guest.nextFunctionFrame();
      assert.deepEqual([frame.type, slotOf(frame)], [FrameType.failure, 2]);
      say(guest, FrameType.cancel, { slot: 2 });
      await holds(guest, 0, '');
      // Its connection is not used again.
      send(guest, 2, '/echo', { method: 'POST', body: 'next' });
      assert.equal(await answered(guest, 2), 'next');
    }));

  test('one that hangs up on a request does not hold up the others', () =>
    withServer(async (guest) => {
      send(guest, 1, '/hang-up');
      let others = 0;
      for (;;) {
        send(guest, 0, '/echo', { method: 'POST', body: 'x' });
        const frame = await guest.nextFunctionFrame();
        if (slotOf(frame) === 0) {
          others += 1;
          continue;
        }
        assert.equal(failureOf(frame).type, 'Web.NoResponse');
        break;
      }
      assert.equal(await answered(guest, 0), 'x');
      assert.ok(others > 1, `${others} were answered meanwhile`);
    }));

  test('what it has answered before it ends arrives, in all slots', async () => {
    const guest = await start();
    for (const [slot, name] of ['a', 'b'].entries()) send(guest, slot, `/hold?name=${name}`);
    await holds(guest, 3, 'a,b');
    send(guest, 2, '/end');
    const texts = new Map<unknown, string>();
    while (texts.size < 3) {
      const frame = await guest.nextFunctionFrame();
      texts.set(slotOf(frame), read(frame).body.toString());
    }
    assert.deepEqual([texts.get(0), texts.get(1), texts.get(2)], ['the last', 'the last', 'the end']);
    assert.deepEqual(await guest.remove(), { status: 5, signal: null });
  });

  test('without a VM, it says at its end how many it has begun', async () => {
    const guest = await start(4, 'frames');
    for (const [slot, name] of ['a', 'b'].entries()) send(guest, slot, `/hold?name=${name}`);
    await holds(guest, 3, 'a,b');
    send(guest, 2, '/exit');
    for (;;) {
      const frame = await guest.nextControlFrame();
      if (frame.type === FrameType.log) continue;
      assert.equal(frame.type, FrameType.ending);
      assert.ok(Number(frame.header['begun']) >= 4);
      break;
    }
    assert.deepEqual(await guest.remove(), { status: 3, signal: null });
  });

  test('all hundred slots', () =>
    withServer(async (guest) => {
      for (let slot = 0; slot < 99; slot += 1) send(guest, slot, `/hold?name=${String(slot).padStart(2, '0')}`);
      const names = Array.from({ length: 99 }, (_, slot) => String(slot).padStart(2, '0'));
      await holds(guest, 99, names.join());
      send(guest, 99, '/release?name=98');
      const both = [slotOf(await guest.nextFunctionFrame()), slotOf(await guest.nextFunctionFrame())];
      assert.deepEqual(new Set(both), new Set([98, 99]));
    }, 100));

  for (const [what, slot] of [
    ['a slot that is not free', 0],
    ['a slot that there is not', 4],
  ] as const) {
    test(`a request for ${what} ends it`, async () => {
      const guest = await start();
      send(guest, 0, '/hold?name=x');
      send(guest, slot, '/');
      await assert.rejects(guest.nextFunctionFrame());
      assert.deepEqual(await guest.remove(), { status: 1, signal: null });
    });
  }
});
