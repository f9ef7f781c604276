/** The functions that `runtimes.test.ts` runs: the same handlers, once in each language. */

export const pythonFunctions: Readonly<Record<string, string>> = {
  'workload.py': `
def handle(request):
    return {"got": request}
`,
  'app.py': `
import os, subprocess, sys
print("importing", os.environ.get("GREETING"))

class OutOfCheese(Exception):
    pass

def echo(event):
    return event

def context(event, context):
    return {
        "id": context.aws_request_id,
        "function": context.function_name,
        "memory": context.memory_limit_in_mb,
        "remaining": context.get_remaining_time_in_millis(),
    }

def throw(event):
    raise ValueError("no such é")

def throw_custom(event):
    raise OutOfCheese("redo from start")

def nothing(event):
    pass

def unserialisable(event):
    return {1, 2}

def circular(event):
    result = []
    result.append(result)
    return result

def nan(event):
    return float("nan")

def lone_surrogate(event):
    return chr(0xd800)

def recursion(event):
    return recursion(event)

def big_stack(event):
    raise ValueError("x" * 1000000)

def look_like_frames(event):
    sys.stdout.buffer.write(b"\\x00\\x00\\x00\\x05\\x02\\x00\\x00{}" * 3)
    sys.stdout.flush()
    os.write(2, b"\\x00\\x00\\x00\\x03\\x14\\x00\\x00")
    return "real"

def print_text(event):
    print(event["text"])
    print("partial", end="")
    print("to stderr", file=sys.stderr)
    return "printed"

def print_much(event):
    sys.stdout.write("x" * (1024 * 1024))
    return "printed"

def leave(event):
    print("bye")
    sys.exit(event)

def leave_at_once(event):
    os._exit(event)

def close_all(event):
    os.closerange(0, 1024)
    return "still here"

def large(event):
    return "x" * event

def children_see(event):
    script = """
import os
for fd in os.listdir("/proc/self/fd"):
    try: print(fd, os.readlink("/proc/self/fd/" + fd))
    except OSError: pass
"""
    return subprocess.run([sys.executable, "-c", script], close_fds=False, capture_output=True, text=True).stdout

def where(event):
    return os.getcwd()

not_a_function = 42
`,
  'package/inside.py': 'def answer(event):\n    return "from package"\n',
  'lib/inside_lib.py': 'def answer(event):\n    return "from lib"\n',
  'deep/er/mod.py': 'def answer(event):\n    return "from a directory"\n',
  'broken.py': 'def handle(request)\n    return 1\n',
  'raises.py': 'print("about to fail")\nraise LookupError("at import")\n',
  'needs.py': 'import surely_not_there\ndef handle(request):\n    return 1\n',
  'leaves.py': 'import sys\nsys.exit(9)\n',
};

export const nodeFunctions: Readonly<Record<string, string>> = {
  'workload.js': `exports.handle = async (request) => ({ got: request });\n`,
  'app.js': `
const fs = require('node:fs');
const { execFileSync } = require('node:child_process');
console.log('importing', process.env.GREETING);

class OutOfCheese extends Error {}

exports.echo = (event) => event;
exports.context = async (event, context) => ({
  id: context.awsRequestId,
  function: context.functionName,
  memory: context.memoryLimitInMB,
  remaining: context.getRemainingTimeInMillis(),
});
exports.throw = () => { throw new TypeError('no such é'); };
exports.throw_custom = async () => { throw new OutOfCheese('redo from start'); };
exports.nothing = () => {};
exports.unserialisable = () => ({ big: 1n });
exports.circular = () => { const result = []; result.push(result); return result; };
exports.recursion = (event) => exports.recursion(event) + 1;
exports.big_stack = () => { throw new Error('x'.repeat(1000000)); };
exports.look_like_frames = () => {
  process.stdout.write(Buffer.from('\\0\\0\\0\\x05\\x02\\0\\0{}'.repeat(3)));
  fs.writeSync(2, Buffer.from([0, 0, 0, 3, 20, 0, 0]));
  return 'real';
};
exports.print_text = (event) => {
  console.log(event.text);
  process.stdout.write('partial');
  console.error('to stderr');
  return 'printed';
};
exports.print_much = () => { process.stdout.write('x'.repeat(1024 * 1024)); return 'printed'; };
exports.leave = (event) => { console.log('bye'); process.exit(event); };
exports.leave_at_once = (event) => process.reallyExit(event);
exports.close_all = () => {
  for (let fd = 0; fd < 1024; fd++) try { fs.closeSync(fd); } catch {}
  return 'still here';
};
exports.large = (event) => 'x'.repeat(event);
exports.children_see = () => execFileSync('ls', ['-l', '/proc/self/fd']).toString();
exports.where = () => process.cwd();
exports.not_a_function = 42;

exports.later = async (event) => { await new Promise((resolve) => setTimeout(resolve, 5)); return event; };
exports.never = () => new Promise(() => {});
exports.throw_text = () => { throw 'just text'; };
exports.throw_null = async () => { throw null; };
exports.throw_later = () => new Promise(() => { setImmediate(() => { throw new RangeError('nobody catches'); }); });
exports.reject_unseen = async () => { Promise.reject(new RangeError('nobody awaits')); await new Promise(() => {}); };
exports.reject_heard = () => new Promise((resolve) => {
  process.once('unhandledRejection', () => resolve('heard'));
  Promise.reject(new RangeError('a listener hears'));
});
exports.nan = () => NaN;
exports.nested = { deeper: () => 'found' };
`,
  'module.mjs': `import os from 'node:os';\nawait null;\nexport const answer = async () => typeof os.cpus;\n`,
  'common.cjs': `exports.answer = () => 'from cjs';\n`,
  'deep/er/mod.js': `exports.answer = () => 'from a directory';\n`,
  'broken.js': 'exports.handle = function ( {\n',
  'raises.js': `console.log('about to fail');\nthrow new RangeError('at import');\n`,
  'needs.js': `require('surely-not-there');\n`,
  'leaves.js': `process.exit(9);\n`,
  'hangs.mjs': `await new Promise(() => {});\nexport const handle = () => 1;\n`,
};
