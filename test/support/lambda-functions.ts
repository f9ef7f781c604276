/** Functions in the style of AWS Lambda, in both languages, that do what their event's `do` says. */
import type { TestFunction } from './snapctr.ts';

const NODE = `
let calls = 0;
const behaviours = {
  echo: async (event) => event,
  count: async () => (calls += 1),
  'count later': async ({ ms }) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return (calls += 1);
  },
  context: async (event, context) => ({
    ...context,
    remaining: context.getRemainingTimeInMillis(),
    initialization: process.env.AWS_LAMBDA_INITIALIZATION_TYPE,
    environment: process.env,
    directory: process.cwd(),
  }),
  nothing: async () => undefined,
  throw: async () => {
    throw new TypeError('as asked');
  },
  'no error': async () => {
    throw 'as asked';
  },
  circular: async (event) => {
    event.self = event;
    return event;
  },
  nan: async () => ({ value: NaN }),
  exit: async ({ status }) => process.exit(status),
  kill: async () => process.kill(process.pid, 'SIGKILL') && new Promise(() => {}),
  hang: async () => {
    for (;;);
  },
  say: async ({ text }) => console.log(text),
  frames: async () => {
    require('fs').writeSync(1, Buffer.from([0, 0, 0, 9, 2, 0, 0, 34, 102, 97, 107, 101, 34]));
    return 'printed';
  },
  large: async ({ bytes }) => 'x'.repeat(bytes - 2),
  'later rejection': async () => {
    setTimeout(() => Promise.reject(new Error('too late')), 0);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  },
};
exports.handler = (event, context) => behaviours[event.do](event, context);
exports.notAFunction = 1;
exports.callback = (event, context, callback) => setTimeout(() => callback(null, { called: event }), 5);
exports.stream = awslambda.streamifyResponse(async (event, output, context) => {
  output.setContentType?.('text/plain');
  if (event.throwFirst) throw new TypeError('before');
  let written = 0;
  for (let part = 0; part < event.parts; part += 1) {
    if (event.pauseMs) await new Promise((resolve) => setTimeout(resolve, event.pauseMs));
    const bytes = Buffer.alloc(event.bytes ?? 1, event.fill ?? part);
    if (!output.write(bytes)) await new Promise((resolve) => output.once('drain', resolve));
    written += 1;
    if (event.tell) console.log('written ' + written);
  }
  if (event.throwLast) throw new TypeError('in the middle');
  output.end();
  await output.finished?.();
});
`;

const PYTHON = `
import json, os, signal, sys, time

calls = 0

def do_echo(event, context):
    return event

def do_count(event, context):
    global calls
    calls += 1
    return calls

def do_count_later(event, context):
    time.sleep(event['ms'] / 1000)
    return do_count(event, context)

def do_context(event, context):
    names = ['function_name', 'function_version', 'invoked_function_arn', 'memory_limit_in_mb', 'aws_request_id',
             'log_group_name', 'log_stream_name']
    client = context.client_context
    return {
        **{name: getattr(context, name) for name in names},
        'client_context': client and {'custom': client.custom, 'env': client.env},
        'remaining': context.get_remaining_time_in_millis(),
        'initialization': os.environ.get('AWS_LAMBDA_INITIALIZATION_TYPE'),
        'environment': dict(os.environ),
        'directory': os.getcwd(),
    }

def do_nothing(event, context):
    pass

def do_throw(event, context):
    raise ValueError('as asked')

def do_circular(event, context):
    event['self'] = event
    return event

def do_nan(event, context):
    return {'value': float('nan')}

def do_exit(event, context):
    os._exit(event['status'])

def do_kill(event, context):
    os.kill(os.getpid(), signal.SIGKILL)

def do_hang(event, context):
    while True:
        pass

def do_say(event, context):
    print(event['text'])

def do_frames(event, context):
    os.write(1, bytes([0, 0, 0, 9, 2, 0, 0]) + b'"fake"')
    return 'printed'

def do_large(event, context):
    return 'x' * (event['bytes'] - 2)

def handler(event, context):
    return globals()['do_' + event['do'].replace(' ', '_')](event, context)
`;

/** `obedient` and, for Node, `streaming` and `callback`: one source, several handlers. */
export function lambdaFunctions(
  runtime: TestFunction['runtime'],
  keys: Readonly<Record<string, string | number>> = {},
): TestFunction[] {
  if (runtime === 'python3') {
    const files = { 'pkg/app.py': PYTHON };
    return [{ name: 'obedient', runtime, files, keys: { handler: 'pkg/app.handler', ...keys } }];
  }
  const files = { 'src/index.js': NODE };
  return [
    { name: 'obedient', runtime, files, keys: { handler: 'src/index.handler', ...keys } },
    { name: 'streaming', runtime, files, keys: { handler: 'src/index.stream', ...keys } },
    { name: 'callback', runtime, files, keys: { handler: 'src/index.callback', ...keys } },
    { name: 'no-function', runtime, files, keys: { handler: 'src/index.notAFunction', ...keys } },
  ];
}

/** A function whose import goes wrong. */
function brokenImport(
  name: string,
  runtime: TestFunction['runtime'],
  text: string,
  handler = 'index.handler',
): TestFunction {
  const files = { [runtime === 'python3' ? 'index.py' : 'index.js']: text };
  return { name, runtime, files, keys: { handler } };
}

/** One function for each way in which an import can fail. */
export function brokenImports(runtime: 'python3' | 'nodejs'): TestFunction[] {
  const isNode = runtime === 'nodejs';
  return [
    brokenImport('syntax', runtime, isNode ? 'exports.handler = (;\n' : 'def handler(:\n'),
    brokenImport('no-module', runtime, isNode ? "require('not-there');\n" : 'import not_there\n'),
    brokenImport('no-export', runtime, isNode ? 'exports.other = 1;\n' : 'other = 1\n'),
    brokenImport('no-file', runtime, '\n', 'nowhere.handler'),
    brokenImport('throws', runtime, isNode ? "throw new RangeError('at import');\n" : "raise KeyError('at import')\n"),
    brokenImport('exits', runtime, isNode ? 'process.exit(5);\n' : 'import os\nos._exit(5)\n'),
  ];
}

/** What went wrong, in which of them, and what AWS calls it. */
export type ImportFailure = readonly [what: string, name: string, type: string, words: RegExp];
function importFailures(isNode: boolean): readonly ImportFailure[] {
  return [
    [
      'a syntax error',
      'syntax',
      'Runtime.UserCodeSyntaxError',
      isNode ? /^SyntaxError: / : /^Syntax error in module 'index'/,
    ],
    [
      'a missing dependency',
      'no-module',
      'Runtime.ImportModuleError',
      isNode
        ? /^Error: Cannot find module 'not-there'/
        : /^Unable to import module 'index': No module named 'not_there'/,
    ],
    [
      'a missing export',
      'no-export',
      'Runtime.HandlerNotFound',
      isNode ? /^index\.handler is undefined or not exported$/ : /^Handler 'handler' missing on module 'index'$/,
    ],
    [
      'a missing file',
      'no-file',
      'Runtime.ImportModuleError',
      isNode ? /^Error: Cannot find module 'nowhere'/ : /^Unable to import module 'nowhere': No module named 'nowhere'/,
    ],
    ['an import that throws', 'throws', isNode ? 'RangeError' : 'KeyError', /at import/],
    ['an import that exits', 'exits', 'Runtime.ExitError', /Runtime exited with error: exit status 5$/],
  ];
}

export const IMPORT_FAILURES = { python3: importFailures(false), nodejs: importFailures(true) } as const;
