/** Functions in both languages that do what the tests ask of them, good and bad. */
import type { TestFunction } from './snapctr.ts';

/** One misbehaviour, as the body of a handler whose argument is `request`. */
export interface Behaviour {
  readonly name: string;
  readonly python: string;
  readonly node: string;
}

/** Well-behaved and ill-behaved; the event names the behaviour, so that one VM can go through many. */
export const BEHAVIOURS: readonly Behaviour[] = [
  { name: 'echo', python: 'return request', node: 'return request;' },
  { name: 'count', python: 'global calls; calls += 1; return calls', node: 'calls += 1; return calls;' },
  { name: 'nothing', python: 'pass', node: '' },
  { name: 'throw', python: "raise ValueError('as asked')", node: "throw new TypeError('as asked');" },
  { name: 'not json', python: 'return {1, 2}', node: 'return 10n;' },
  { name: 'exit', python: 'import os; os._exit(3)', node: 'process.exit(3);' },
  { name: 'hang', python: 'while True: pass', node: 'for (;;);' },
  {
    name: 'sleep',
    python: "import time; time.sleep(request['ms'] / 1000); return 'slept'",
    node: "await new Promise((r) => setTimeout(r, request.ms)); return 'slept';",
  },
  {
    name: 'megabyte',
    python: "print('x' * (1 << 20)); return 'printed'",
    node: "console.log('x'.repeat(1 << 20)); return 'printed';",
  },
  {
    name: 'frames',
    python: "import os; os.write(1, bytes([0, 0, 0, 9, 2, 0, 0]) + b'\"fake\"'); return 'printed'",
    node: "require('fs').writeSync(1, Buffer.from([0, 0, 0, 9, 2, 0, 0])); return 'printed';",
  },
  {
    name: 'close every fd',
    python: 'import os; os.closerange(0, 256)\n    return 1',
    node: "for (let fd = 0; fd < 256; fd += 1) { try { require('fs').closeSync(fd); } catch {} } return 1;",
  },
  {
    name: 'fill memory',
    python: "hoard = []\n    while True: hoard.append(bytearray(b'x' * (1 << 20)))",
    node: 'const hoard = []; for (;;) hoard.push(Buffer.alloc(1 << 20, 1));',
  },
  {
    name: 'fork',
    python:
      'import os\n    while True:\n        try:\n            os.fork()\n        except OSError:\n            pass',
    node: "for (;;) { try { require('child_process').spawn(process.execPath, ['-e', 'for(;;);']).on('error', () => {}); } catch {} await null; }",
  },
  {
    name: 'leave an error behind',
    python: "import threading; threading.Thread(target=lambda: 1 / 0).start(); return request['n']",
    node: "Promise.reject(new Error('left behind')); return request.n;",
  },
  {
    // As soon as the answer is out and the next request is waited for, or a little later. Python's lock is not given away between the
    // look and the end: whoever reads what comes after the request, its output being collected, has begun it.
    name: 'leave an end behind',
    python: `import os, sys, threading, time
    sys.setswitchinterval(1000)
    def end(main=threading.get_ident()):
        while True:
            time.sleep(0.0005)
            frame = sys._current_frames()[main]
            if frame.f_code.co_name == '_read' and frame.f_back.f_back.f_code.co_name == 'serve':
                os._exit(3)
    threading.Thread(target=end).start()
    return request['n']`,
    node: "setImmediate(() => process.kill(process.pid, 'SIGKILL')); return request.n;",
  },
  { name: 'large result', python: "return 'x' * (7 << 20)", node: "return 'x'.repeat(7 << 20);" },
  { name: 'say', python: "print(request['text']); return None", node: 'console.log(request.text); return null;' },
];

function pythonSource(): string {
  const cases = BEHAVIOURS.map(({ name, python }) => `def do_${name.replaceAll(' ', '_')}(request):\n    ${python}\n`);
  return `calls = 0\n${cases.join('\n')}
def handle(request):
    return globals()['do_' + request['do'].replace(' ', '_')](request)
`;
}

function nodeSource(): string {
  const cases = BEHAVIOURS.map(({ name, node }) => `  ${JSON.stringify(name)}: async (request) => { ${node} },`);
  return `let calls = 0;\nconst behaviours = {\n${cases.join('\n')}\n};
exports.handle = (request) => behaviours[request.do](request);
`;
}

/** A function that does what its event's `do` says: `{"do": "throw"}`. */
export function obedient(
  name: string,
  runtime: TestFunction['runtime'],
  keys: Readonly<Record<string, string | number>> = {},
): TestFunction {
  const files = runtime === 'python3' ? { 'workload.py': pythonSource() } : { 'workload.js': nodeSource() };
  return { name, runtime, files, keys };
}

/** A function with its own source; the handler is `handle` in the language's workload file. */
export function source(
  name: string,
  runtime: TestFunction['runtime'],
  text: string,
  keys: TestFunction['keys'] = {},
): TestFunction {
  return { name, runtime, files: { [runtime === 'python3' ? 'workload.py' : 'workload.js']: text }, keys };
}
