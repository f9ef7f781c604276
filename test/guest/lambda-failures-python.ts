/**
 * What functions in Python raise that is out of the ordinary, and what becomes of it with awslambdaric 4.2.2:
 * the values are what that posts to a Runtime API. Where ours is another on purpose, `onAws` tells theirs.
 */
import type { Value } from './lambda-values.ts';

const LONG = 'm'.repeat(20_000);

export const prelude = `
def raises(error): raise error
class NoText(Exception):
    def __str__(self): raise RuntimeError('no text')
class NumberText(Exception):
    def __str__(self): return 7
class Silent(Exception):
    def __repr__(self): raise RuntimeError('no repr')
class Outer:
    class Inner(Exception): pass
def caused():
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise ValueError('outer') from error
def during():
    try:
        1 / 0
    except ZeroDivisionError:
        raise KeyError('missing')
def deep(n):
    if n == 0: raise ValueError('deep')
    deep(n - 1)
def noted():
    error = ValueError('noted')
    error.__notes__ = ['a note']
    raise error
def reraised():
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise error.with_traceback(None)
`;

/** By the process that returned the results. */
export const failures: readonly Value[] = [
  [
    'an exception group',
    'raises(ExceptionGroup("several", [ValueError("a"), TypeError("b")]))',
    {
      type: 'ExceptionGroup',
      message: 'several (2 sub-exceptions)',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'a cause',
    'caused()',
    {
      type: 'ValueError',
      message: 'outer',
      stack: ['  File "/function/app.py", line N, in caused\n    raise ValueError(\'outer\') from error\n'],
    },
  ],
  [
    'a context',
    'during()',
    {
      type: 'KeyError',
      message: "'missing'",
      stack: ['  File "/function/app.py", line N, in during\n    raise KeyError(\'missing\')\n'],
    },
  ],
  [
    'no message',
    'raises(ValueError())',
    {
      type: 'ValueError',
      message: '',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'two arguments',
    'raises(ValueError("a", 2))',
    {
      type: 'ValueError',
      message: "('a', 2)",
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  ['a KeyError', '{}["k"]', { type: 'KeyError', message: "'k'" }],
  [
    'a number as message',
    'raises(Exception(7))',
    {
      type: 'Exception',
      message: '7',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'None as message',
    'raises(Exception(None))',
    {
      type: 'Exception',
      message: 'None',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'an empty text',
    'raises(Exception(""))',
    {
      type: 'Exception',
      message: '',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'StopIteration',
    'raises(StopIteration("over"))',
    {
      type: 'StopIteration',
      message: 'over',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'StopAsyncIteration',
    'raises(StopAsyncIteration())',
    {
      type: 'StopAsyncIteration',
      message: '',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'an OSError',
    'open("/does/not/exist")',
    { type: 'FileNotFoundError', message: "[Errno 2] No such file or directory: '/does/not/exist'" },
  ],
  [
    'a UnicodeDecodeError',
    'b"\\xff".decode()',
    { type: 'UnicodeDecodeError', message: "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte" },
  ],
  [
    'a syntax error',
    'compile("a b", "file.py", "exec")',
    { type: 'SyntaxError', message: 'invalid syntax (file.py, line 1)' },
  ],
  [
    'an ImportError',
    '__import__("surely_not_there")',
    { type: 'ModuleNotFoundError', message: "No module named 'surely_not_there'" },
  ],
  ['an assertion', 'assert 1 == 2', { type: 'AssertionError', message: '' }],
  [
    'an inner class',
    'raises(Outer.Inner("inner"))',
    {
      type: 'Inner',
      message: 'inner',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'a made class',
    'raises(type("Made\\x7f", (Exception,), {})("x"))',
    {
      type: 'Made\u007f',
      message: 'x',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'no __repr__',
    'raises(Silent("told"))',
    {
      type: 'Silent',
      message: 'told',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'notes',
    'noted()',
    { type: 'ValueError', message: 'noted', stack: ['  File "/function/app.py", line N, in noted\n    raise error\n'] },
  ],
  [
    'without its traceback',
    'reraised()',
    {
      type: 'ZeroDivisionError',
      message: 'division by zero',
      stack: ['  File "/function/app.py", line N, in reraised\n    raise error.with_traceback(None)\n'],
    },
  ],
  [
    'control characters and DEL',
    'raises(ValueError("a\\x00\\x1b[31m\\x7f\\r\\n\\tb\\u2028"))',
    {
      type: 'ValueError',
      message: 'a\u0000\u001b[31m\u007f\r\n\tb\u2028',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'a lone surrogate',
    'raises(ValueError("\\udc80"))',
    {
      type: 'ValueError',
      message: '\udc80',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'a message of 20000 characters',
    'raises(ValueError("m" * 20000))',
    {
      type: 'ValueError',
      message: LONG,
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'a stack of 300',
    'deep(300)',
    {
      type: 'ValueError',
      message: 'deep',
      stack: [
        '  File "/function/app.py", line N, in deep\n    deep(n - 1)\n',
        '  File "/function/app.py", line N, in deep\n    deep(n - 1)\n',
        '  File "/function/app.py", line N, in deep\n    deep(n - 1)\n',
        '  [Previous line repeated 297 more times]\n',
        '  File "/function/app.py", line N, in deep\n    if n == 0: raise ValueError(\'deep\')\n',
      ],
    },
  ],
  [
    'no exception',
    'raises(1)',
    {
      type: 'TypeError',
      message: 'exceptions must derive from BaseException',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'a class',
    'raises(ValueError)',
    {
      type: 'ValueError',
      message: '',
      stack: ['  File "/function/app.py", line N, in raises\n    def raises(error): raise error\n'],
    },
  ],
  [
    'a system error in a thread',
    `
caught = []
threading.excepthook = lambda args: caught.append(args.exc_type.__name__)
thread = threading.Thread(target=raises, args=(SystemExit(3),))
thread.start()
thread.join()
other = threading.Thread(target=raises, args=(ValueError("x"),))
other.start()
other.join()
return caught`,
    '["SystemExit", "ValueError"]',
  ],
  [
    'from asyncio.run',
    `
async def fails(): raise ValueError("async")
asyncio.run(fails())`,
    {
      type: 'ValueError',
      message: 'async',
      stack: [
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/runners.py", line 190, in run\n    return runner.run(main)\n',
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/runners.py", line 118, in run\n    return self._loop.run_until_complete(task)\n',
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/base_events.py", line 653, in run_until_complete\n    return future.result()\n',
        '  File "/function/app.py", line N, in fails\n    async def fails(): raise ValueError("async")\n',
      ],
    },
  ],
  [
    'several from a task group',
    `
async def fails(): raise ValueError("async")
async def several():
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())
asyncio.run(several())`,
    {
      type: 'ExceptionGroup',
      message: 'unhandled errors in a TaskGroup (1 sub-exception)',
      stack: [
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/runners.py", line 190, in run\n    return runner.run(main)\n',
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/runners.py", line 118, in run\n    return self._loop.run_until_complete(task)\n',
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/base_events.py", line 653, in run_until_complete\n    return future.result()\n',
        '  File "/function/app.py", line N, in several\n    async with asyncio.TaskGroup() as group:\n',
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/taskgroups.py", line 145, in __aexit__\n    raise me from None\n',
      ],
    },
  ],
  [
    'timeout of asyncio',
    'asyncio.run(asyncio.wait_for(asyncio.sleep(5), 0.01))',
    {
      type: 'TimeoutError',
      message: '',
      stack: [
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/runners.py", line 190, in run\n    return runner.run(main)\n',
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/runners.py", line 118, in run\n    return self._loop.run_until_complete(task)\n',
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/base_events.py", line 653, in run_until_complete\n    return future.result()\n',
        '  File "/root/.pyenv/versions/3.11.7/lib/python3.11/asyncio/tasks.py", line 502, in wait_for\n    raise exceptions.TimeoutError() from exc\n',
      ],
    },
  ],
  [
    'a generator that raises StopIteration',
    `
def generator():
    raise StopIteration("inside")
    yield
return list(generator())`,
    { type: 'RuntimeError', message: 'generator raised StopIteration' },
  ],
];

/** Each by a process of its own, which may have ended afterwards. */
export const ends: readonly Value[] = [
  ['sys.exit()', 'sys.exit()', { status: 0 }],
  ['sys.exit(3)', 'sys.exit(3)', { status: 3 }],
  ['sys.exit(256)', 'sys.exit(256)', { status: 0 }],
  ['sys.exit(-1)', 'sys.exit(-1)', { status: 255 }],
  ['sys.exit("text")', 'sys.exit("text")', { status: 1 }],
  ['sys.exit(None)', 'sys.exit(None)', { status: 0 }],
  ['sys.exit(True)', 'sys.exit(True)', { status: 1 }],
  ['sys.exit(2.5)', 'sys.exit(2.5)', { status: 1 }],
  ['KeyboardInterrupt', 'raises(KeyboardInterrupt())', { signal: 'SIGINT' }],
  ['BaseException', 'raises(BaseException("base"))', { status: 1 }],
  ['GeneratorExit', 'raises(GeneratorExit())', { status: 1 }],
  ['asyncio.CancelledError', 'raises(asyncio.CancelledError())', { status: 1 }],
  ['a group of BaseExceptions', 'raises(BaseExceptionGroup("several", [KeyboardInterrupt()]))', { status: 1 }],
  ['os._exit(4)', 'os._exit(4)', { status: 4 }],
  ['os.abort()', 'os.abort()', { signal: 'SIGABRT' }],
  ['SIGTERM', 'os.kill(os.getpid(), signal.SIGTERM)', { signal: 'SIGTERM' }],
  [
    'an error whose __str__ raises',
    'raises(NoText("x"))',
    { type: 'NoText', message: 'the error could not be described' },
    { onAws: 'Runtime.ExitError' },
  ],
  [
    'an error whose __str__ is no text',
    'raises(NumberText("x"))',
    { type: 'NumberText', message: 'the error could not be described' },
    { onAws: 'Runtime.ExitError' },
  ],
  [
    'SystemExit in asyncio.run',
    `
async def leaves(): sys.exit(5)
asyncio.run(leaves())`,
    { status: 5 },
  ],
];
