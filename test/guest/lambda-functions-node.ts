/** The Node functions that the tests of Lambda's style run: handlers that end in every way. */

export const lambdaNode: Readonly<Record<string, string>> = {
  'app.js': `
class OutOfCheese extends Error { constructor(message) { super(message); this.name = 'OutOfCheeseError'; } }
let calls = 0;
const soon = (run) => setTimeout(run, 5);

exports.echo = async (event) => event;
exports.count = async () => ++calls;
exports.members = async (event, context) => ({ ...context, keys: Object.keys(context), remaining: context.getRemainingTimeInMillis() });
exports.environment = async () => ({ cwd: process.cwd(), ...process.env });

exports.promise = (event) => new Promise((resolve) => soon(() => resolve(event)));
exports.thenable = (event) => ({ then: (resolve) => { soon(() => resolve(event)); } });
exports.plain = (event) => event;
exports.callback = (event, context, callback) => { callback(null, event); };
exports.callback_later = (event, context, callback) => { soon(() => callback(undefined, event)); };
exports.callback_waits = (event, context, callback) => { callback(null, event); setTimeout(() => console.log('ran first'), 20); };
exports.callback_at_once = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = false;
  setInterval(() => {}, 1000);
  callback(null, event);
};
exports.callback_then_promise = async (event, context, callback) => { callback(null, 'callback'); return 'promise'; };
exports.callback_twice = (event, context, callback) => { callback(null, 'first'); callback(new Error('second')); };
exports.callback_then_throws = (event, context, callback) => { callback(null, 'first'); throw new Error('second'); };
exports.callback_fails = (event, context, callback) => { setInterval(() => {}, 1000); callback(new RangeError('called back')); };
exports.callback_fails_text = (event, context, callback) => { callback('just text'); };
exports.succeed = (event, { succeed }) => { setInterval(() => {}, 1000); succeed(event); };
exports.done = (event, { done }) => { soon(() => done(null, event)); };
exports.done_fails = (event, { done }) => { done(new RangeError('done')); };
exports.fail = (event, { fail }) => { fail(new RangeError('failed')); };
exports.fail_nothing = (event, { fail }) => { fail(); };
exports.promise_with_timers = async (event) => { setInterval(() => {}, 1000); return event; };
exports.nothing = async () => {};
exports.sync_nothing = () => {};
exports.never = () => {};
exports.never_async = () => new Promise(() => {});

exports.throws = () => { throw new TypeError('no such é'); };
exports.throws_named = async () => { throw new OutOfCheese('redo'); };
exports.throws_subclass = async () => { throw new (class Unnamed extends Error {})('plain name'); };
exports.throws_text = async () => { throw 'just text'; };
exports.throws_number = async () => { throw 7; };
exports.throws_object = async () => { throw { a: 1 }; };
exports.throws_null = async () => { throw null; };
exports.throws_undefined = async () => { throw undefined; };
exports.throws_trap = async () => { throw { get name() { throw new Error('trap'); }, toString() { throw new Error('trap'); } }; };
exports.throws_foreign = async () => { require('node:vm').runInNewContext('throw new RangeError("foreign")'); };

exports.buffer = async () => Buffer.from('hi');
exports.circular = async () => { const result = []; result.push(result); return result; };
exports.big_int = async () => ({ big: 1n });
exports.nan = async () => [NaN, Infinity];
exports.a_function = async () => () => 1;
exports.large = async (event) => 'x'.repeat(event);
exports.leaves = async (event) => { console.log('bye'); process.exit(event); };
exports.killed = async () => { process.kill(process.pid, 'SIGKILL'); await new Promise(soon); };
exports.frames = async () => {
  process.stdout.write(Buffer.from('\\0\\0\\0\\x05\\x02\\0\\0{}'.repeat(3)));
  require('node:fs').writeSync(2, Buffer.from([0, 0, 0, 3, 20, 0, 0]));
  return 'real';
};
exports.rejects_unseen = async () => { Promise.reject(new RangeError('nobody awaits')); await new Promise(soon); return 'late'; };
exports.rejects_text_unseen = async () => { Promise.reject('just text'); await new Promise(soon); };
exports.rejects_after = async () => { Promise.reject(new RangeError('too late')); return 'answered'; };
exports.throws_later = async () => { soon(() => { throw new RangeError('nobody catches'); }); await new Promise(() => setInterval(() => {}, 1000)); };
exports.logs = async (event, context) => {
  console.log('a %s', 'b', { c: 1 });
  console.info('info'); console.warn('warn'); console.error(new Error('shown').message); console.debug('debug'); console.trace('trace');
  console.log('two\\nlines');
};
exports.logs_json = async () => {
  const error = Object.assign(new TypeError('boom'), { code: 'E_BOOM', orderId: 7 });
  console.error(error);
  console.error({ text: 'failed', error, deep: [{ cause: new RangeError('inner') }] });
  console.log();
  console.log('with %s', 'text', error);
  const circular = {};
  circular.self = circular;
  console.log(circular);
  console.log(Object.assign(new Error('no class'), { constructor: undefined }));
};
exports.throws_untold = async () => { throw Object.create(null); };
exports.nested = { deeper: { handler: async () => 'found' } };
exports.not_a_function = 42;
`,
  'dir/sub/file.js': `exports.a = { b: { fn: async () => 'from a directory' } };\n`,
  'module.mjs': `await null;\nexport const handler = async () => 'from mjs';\nexport default { other: async () => 'from default' };\n`,
  'common.cjs': `exports.handler = async () => 'from cjs';\n`,
  bare: `exports.handler = async () => 'from a bare name';\n`,
  'scoped/package.json': '{"type":"module"}',
  'scoped/esm.js': `await null;\nexport const handler = async () => typeof require;\n`,
  'node_modules/packaged/index.js': `exports.handler = async () => 'from a package';\n`,
  'lib/helper.js': `exports.help = () => 'helped';\n`,
  'absolute.js': `const { help } = require('lib/helper');\nexports.handler = async () => help();\n`,
  'syntax.js': 'exports.handler = async ( => {};\n',
  'raises.js': `throw new RangeError('Runtime startup fails');\n`,
  'needs.js': `require('surely-not-there');\n`,
  'needs.mjs': `import 'surely-not-there';\n`,
  'hangs.mjs': `await new Promise(() => {});\nexport const handler = async () => 1;\n`,
  'rejects.js': `Promise.reject(new RangeError('early'));\nexports.handler = async () => 1;\n`,
  'stream.js': `
const { setTimeout: sleep } = require('node:timers/promises');
const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const { streamifyResponse, HttpResponseStream } = awslambda;

exports.words = streamifyResponse(async (event, out, context) => {
  out.setContentType('text/plain');
  for (const word of event.words) { out.write(word); await sleep(1); }
  out.end();
});
exports.piped = streamifyResponse(async (event, out) => {
  await pipeline(Readable.from(['a', Buffer.from('b'), 'c']), out);
});
exports.http = streamifyResponse(async (event, out) => {
  out = HttpResponseStream.from(out, { statusCode: 201, headers: { 'x-a': 'b' } });
  out.write('body');
  out.end();
});
exports.http_empty = streamifyResponse(async (event, out) => { HttpResponseStream.from(out, { statusCode: 204 }).end(); });
exports.nothing = streamifyResponse(async (event, out) => { out.end(); });
exports.object = streamifyResponse(async (event, out) => { out.write({ a: 1 }); out.end(); });
exports.not_utf8 = streamifyResponse(async (event, out) => { out.end(Buffer.from([0x22, 0xff, 0x22])); });
exports.ends_late = streamifyResponse(async (event, out) => { setTimeout(() => out.end('late'), 5); });
exports.returns = streamifyResponse(async (event, out) => { out.end('x'); return 'ignored'; });
exports.throws_first = streamifyResponse(async () => { throw new RangeError('before a byte'); });
exports.throws_midway = streamifyResponse(async (event, out) => { out.write('some'); await sleep(1); throw new RangeError('midway'); });
exports.unfinished = streamifyResponse(async (event, out) => { out.write('some'); });
exports.destroyed = streamifyResponse(async (event, out) => { out.write('some'); out.destroy(new RangeError('destroyed')); });
exports.not_async = streamifyResponse((event, out) => { out.end('x'); });
exports.never = streamifyResponse(async (event, out) => { out.write('some'); await new Promise(() => {}); });
exports.late_type = streamifyResponse(async (event, out) => { out.write('x'); await sleep(1); out.setContentType('text/html'); });
exports.uncaught = streamifyResponse(async (event, out) => {
  out.write('some');
  setImmediate(() => { throw new RangeError('nobody catches'); });
  await sleep(1000);
});
exports.much = streamifyResponse(async (event, out) => {
  const piece = Buffer.alloc(event.pieceBytes, 'x');
  let waits = 0;
  for (let written = 0; written < event.bytes; written += piece.length) {
    if (!out.write(piece)) { waits++; await new Promise((resolve) => out.once('drain', resolve)); }
    globalThis.written = written + piece.length;
  }
  out.end();
  console.log('waited', waits > 0);
});
let ticks = 0;
exports.blocked = streamifyResponse(async (event, out) => {
  const timer = setInterval(() => { ticks++; console.log('tick'); }, 10);
  for (let n = 0; n < 64; n++) if (!out.write(Buffer.alloc(65536))) await new Promise((resolve) => out.once('drain', resolve));
  clearInterval(timer);
  out.end();
});
`,
};
