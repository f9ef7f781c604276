/**
 * What functions in Node throw that is out of the ordinary, and what becomes of it with aws-lambda-ric 3.3.0:
 * the values are what that posts to a Runtime API. Where ours is another on purpose, `onAws` tells theirs.
 */
import type { Value } from './lambda-values.ts';

const LONG = 'm'.repeat(20_000);
/** Of an error that cannot be read. */
const PROBLEM = {
  type: 'handled',
  message:
    'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
  stack: [],
};

/** By the process that returned the results. */
export const failures: readonly Value[] = [
  [
    'an AggregateError',
    'throws(new AggregateError([new Error("a"), new TypeError("b")], "several"))',
    { type: 'AggregateError', message: 'several' },
  ],
  [
    'Promise.any',
    'Promise.any([Promise.reject(new Error("a"))])',
    { type: 'AggregateError', message: 'All promises were rejected' },
  ],
  ['a cause', 'throws(new Error("outer", { cause: new TypeError("inner") }))', { type: 'Error', message: 'outer' }],
  [
    'a cause that is itself',
    `
const error = new Error("own cause");
error.cause = error;
throw error;`,
    { type: 'Error', message: 'own cause' },
  ],
  ['no message', 'throws(new Error())', { type: 'Error', message: '', stack: ['Error'] }],
  ['an error with a name', 'throws(Object.assign(new Error("m"), { name: "Named" }))', { type: 'Named', message: 'm' }],
  ['a name by a getter', 'throws(new Told("told"))', { type: 'ToldError', message: 'told' }],
  ['a name that is a number', 'throws(new Numbered())', PROBLEM],
  [
    'a name that is undefined',
    'throws(Object.assign(new Error("m"), { name: undefined }))',
    { type: '', message: 'm', stack: ['Error: m'] },
    { onAws: 'no errorType' },
  ],
  [
    'a name that is null',
    'throws(Object.assign(new Error("m"), { name: null }))',
    { type: '', message: 'm', stack: ['null: m'] },
    { onAws: 'no errorType' },
  ],
  ['an empty name', 'throws(Object.assign(new Error("m"), { name: "" }))', { type: '', message: 'm', stack: ['m'] }],
  [
    'a message that is undefined',
    'throws(Object.assign(new Error("m"), { message: undefined }))',
    { type: 'Error', message: '', stack: ['Error'] },
    { onAws: 'no errorMessage' },
  ],
  ['a message that is an object', 'throws(Object.assign(new Error("m"), { message: { a: 1 } }))', PROBLEM],
  [
    'a message that is null',
    'throws(Object.assign(new Error("m"), { message: null }))',
    { type: 'Error', message: '', stack: ['Error: null'] },
    { onAws: 'no errorMessage' },
  ],
  ['a frozen error', 'throws(Object.freeze(new Error("frozen")))', { type: 'Error', message: 'frozen' }],
  ['a message that throws', 'throws(withMembers(new Error("m"), trap("message")))', PROBLEM],
  ['a name that throws', 'throws(withMembers(new Error("m"), trap("name")))', PROBLEM],
  ['a stack that throws', 'throws(withMembers(new Error("m"), trap("stack")))', PROBLEM],
  [
    'another member that throws',
    'throws(Object.defineProperty(new Error("m"), "other", { enumerable: true, get() { throw new Error("trap"); } }))',
    { type: 'Error', message: 'm' },
  ],
  [
    'no stack',
    `
const error = new Error("stackless");
delete error.stack;
throw error;`,
    PROBLEM,
  ],
  ['a stack that is undefined', 'throws(Object.assign(new Error("m"), { stack: undefined }))', PROBLEM],
  ['a stack that is null', 'throws(Object.assign(new Error("m"), { stack: null }))', PROBLEM],
  ['a stack that is an array', 'throws(Object.assign(new Error("m"), { stack: ["a"] }))', PROBLEM],
  [
    'a stack of its own',
    'throws(Object.assign(new Error("m"), { stack: "one\\ntwo\\n\\n    three" }))',
    { type: 'Error', message: 'm', stack: ['one', 'two', '', '    three'] },
  ],
  [
    'an empty stack',
    'throws(Object.assign(new Error("m"), { stack: "" }))',
    { type: 'Error', message: 'm', stack: [''] },
  ],
  [
    'an error of another realm',
    'vm.runInNewContext(\'throw new RangeError("foreign")\')',
    {
      type: 'RangeError',
      message: 'foreign',
      stack: ['evalmachine.<anonymous>:1', 'throw new RangeError("foreign")', '^', '', 'RangeError: foreign'],
    },
  ],
  [
    'an error without a prototype',
    'throws(Object.setPrototypeOf(new Error("m"), null))',
    { type: 'TypeError', message: 'Cannot convert object to primitive value' },
  ],
  [
    'what looks like an error',
    'throws({ name: "Like", message: "looks", stack: "Like: looks\\n    at x" })',
    { type: 'Like', message: 'looks' },
  ],
  [
    'what looks like an error without a message',
    'throws({ name: "Like", message: "", stack: "Like\\n    at x" })',
    { type: 'object', message: '[object Object]', stack: [] },
  ],
  [
    'what looks like an error without a stack',
    'throws({ name: "Like", message: "looks" })',
    { type: 'object', message: '[object Object]', stack: [] },
  ],
  [
    'a function that looks like an error',
    'throws(Object.assign(() => 1, { message: "looks", stack: "s" }))',
    { type: 'function', message: '() => 1', stack: [] },
  ],
  ['a text', 'throws("text")', { type: 'string', message: 'text', stack: [] }],
  ['an empty text', 'throws("")', { type: 'string', message: '', stack: [] }],
  ['zero', 'throws(0)', { type: 'number', message: '0', stack: [] }],
  ['false', 'throws(false)', { type: 'boolean', message: 'false', stack: [] }],
  ['NaN', 'throws(NaN)', { type: 'number', message: 'NaN', stack: [] }],
  ['a BigInt', 'throws(1n)', { type: 'bigint', message: '1', stack: [] }],
  ['a symbol', 'throws(Symbol("s"))', { type: 'TypeError', message: 'Cannot convert a Symbol value to a string' }],
  ['undefined', 'throws(undefined)', { type: 'string', message: 'handled', stack: [] }],
  ['null', 'throws(null)', { type: 'string', message: 'handled', stack: [] }],
  ['an array', 'throws([1, [2]])', { type: 'object', message: '1,2', stack: [] }],
  ['an empty array', 'throws([])', { type: 'object', message: '', stack: [] }],
  ['an object', 'throws({ a: 1 })', { type: 'object', message: '[object Object]', stack: [] }],
  ['a function', 'throws(function named() {})', { type: 'function', message: 'function named() {}', stack: [] }],
  ['a Date', 'throws(new Date(NaN))', { type: 'object', message: 'Invalid Date', stack: [] }],
  [
    'an object without a prototype',
    'throws(Object.create(null))',
    { type: 'TypeError', message: 'Cannot convert object to primitive value' },
  ],
  [
    'an object whose toString throws',
    'throws({ toString() { throw new Error("trap"); } })',
    { type: 'Error', message: 'trap', stack: ['Error: trap', '    at Object.toString (/function/app.js)'] },
  ],
  [
    'an object whose toString is no text',
    'throws({ toString: () => 7 })',
    { type: 'object', message: '7', stack: [] },
    { onAws: 'the number 7' },
  ],
  [
    'an object whose toString returns an object',
    'throws({ toString: () => ({ a: 1 }) })',
    { type: 'TypeError', message: 'Cannot convert object to primitive value' },
  ],
  [
    'an object whose toString returns nothing',
    'throws({ toString() {} })',
    { type: 'object', message: '', stack: [] },
    { onAws: 'no errorMessage' },
  ],
  ['a Map', 'throws(new Map())', { type: 'object', message: '[object Map]', stack: [] }],
  ['a proxy of an error', 'throws(new Proxy(new Error("proxied"), {}))', { type: 'Error', message: 'proxied' }],
  [
    'a proxy that throws',
    'throws(new Proxy({}, { get() { throw new Error("trap"); } }))',
    { type: 'Error', message: 'trap', stack: ['Error: trap', '    at Object.get (/function/app.js)'] },
  ],
  [
    'a promise',
    'throws({ then() {}, toString: () => "thenable" })',
    { type: 'object', message: 'thenable', stack: [] },
  ],
  [
    'control characters and DEL',
    'throws(Object.assign(new Error("a\\0\\x1b[31m\\x7f\\r\\n\\tb\\u2028"), { name: "N\\x7f" }))',
    {
      type: 'N%7F',
      message: 'a\u0000\u001b[31m%7F\r\n\tb\u2028',
      stack: ['N%7F: a\u0000\u001b[31m%7F\r', '\tb\u2028'],
    },
  ],
  ['a text with DEL', 'throws("a\\x7fb")', { type: 'string', message: 'a\u007fb', stack: [] }],
  ['a lone surrogate', 'throws(new Error("\\ud800"))', { type: 'Error', message: '\ud800' }],
  ['a message of 20000 characters', 'throws(new Error("m".repeat(20000)))', { type: 'Error', message: LONG }],
  [
    'a recursion without an end',
    'recursion()',
    {
      type: 'RangeError',
      message: 'Maximum call stack size exceeded',
      stack: [
        'RangeError: Maximum call stack size exceeded',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
        '    at recursion (/function/app.js)',
      ],
    },
  ],
  [
    'a stack of 300',
    'deep(300)',
    {
      type: 'Error',
      message: 'deep',
      stack: [
        'Error: deep',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
        '    at deep (/function/app.js)',
      ],
    },
  ],
  [
    'a syntax error',
    'vm.runInThisContext("a b")',
    {
      type: 'SyntaxError',
      message: "Unexpected identifier 'b'",
      stack: ['evalmachine.<anonymous>:1', 'a b', '  ^', '', "SyntaxError: Unexpected identifier 'b'"],
    },
  ],
  [
    'a file that is not there',
    'require("node:fs").readFileSync("/does/not/exist")',
    { type: 'Error', message: "ENOENT: no such file or directory, open '/does/not/exist'" },
  ],
  [
    'an assertion',
    'require("node:assert").equal(1, 2, "unequal")',
    { type: 'AssertionError', message: 'unequal', stack: ['AssertionError [ERR_ASSERTION]: unequal'] },
  ],
  ['an abort', 'AbortSignal.abort().throwIfAborted()', { type: 'AbortError', message: 'This operation was aborted' }],
  ['a DOMException', 'throws(new DOMException("m", "DataCloneError"))', { type: 'DataCloneError', message: 'm' }],
];

/** From a handler that is not `async`. */
export const sync: readonly Value[] = [
  ['undefined', 'undefined', 'null'],
  ['no promise', '1', 'null'],
  ['an object with then that is no function', '({ then: 1 })', 'null'],
  ['throw: undefined', 'throws(undefined)', 'null'],
  ['throw: null', 'throws(null)', 'null'],
  ['throw: a text', 'throws("text")', { type: 'string', message: 'text', stack: [] }],
  ['throw: an error', 'throws(new RangeError("m"))', { type: 'RangeError', message: 'm' }],
];

/** Each by a process of its own, which may have ended afterwards. */
export const ends: readonly Value[] = [
  ['process.exit()', 'process.exit()', { status: 0 }],
  ['process.exit(3)', 'process.exit(3)', { status: 3 }],
  ['process.abort()', 'process.abort()', { signal: 'SIGABRT' }],
  [
    'SIGTERM',
    '(process.kill(process.pid, "SIGTERM"), new Promise((resolve) => setTimeout(resolve, 1000)))',
    { signal: 'SIGTERM' },
  ],
  [
    'an error in a timer',
    'new Promise(() => setTimeout(() => throws(new RangeError("late"))))',
    {
      type: 'RangeError',
      message: 'late',
      stack: ['RangeError: late', '    at Timeout._onTimeout (/function/app.js)'],
      status: 129,
    },
  ],
  [
    'null thrown in a timer',
    'new Promise(() => setTimeout(() => throws(null), 1) && setInterval(() => {}, 1000))',
    PROBLEM,
  ],
  [
    'undefined thrown in a timer',
    'new Promise(() => setTimeout(() => throws(undefined), 1) && setInterval(() => {}, 1000))',
    PROBLEM,
  ],
  [
    'a text thrown in a timer',
    'new Promise(() => setTimeout(() => throws("late"), 1) && setInterval(() => {}, 1000))',
    { type: 'string', message: 'late', stack: [], status: 129 },
  ],
  [
    'an error event',
    'new Promise(() => new (require("node:events"))().emit("error", new RangeError("event")))',
    { type: 'RangeError', message: 'event', stack: ['RangeError: event', '    at /function/app.js'] },
  ],
  [
    'a rejection with null',
    '(Promise.reject(null), new Promise(() => setInterval(() => {}, 1000)))',
    { type: 'Runtime.UnhandledPromiseRejection', message: 'null', status: 128 },
  ],
  [
    'a rejection with undefined',
    '(Promise.reject(), new Promise(() => setInterval(() => {}, 1000)))',
    {
      type: 'Runtime.UnhandledPromiseRejection',
      message: '',
      stack: ['Runtime.UnhandledPromiseRejection'],
      status: 128,
    },
  ],
  [
    'a rejection with a symbol',
    '(Promise.reject(Symbol("s")), new Promise(() => setInterval(() => {}, 1000)))',
    { type: 'Runtime.UnhandledPromiseRejection', message: 'Symbol(s)', status: 128 },
    { onAws: 'TypeError: Cannot convert a Symbol value to a string' },
  ],
  [
    'a rejection with an object',
    '(Promise.reject({ a: 1 }), new Promise(() => setInterval(() => {}, 1000)))',
    { type: 'Runtime.UnhandledPromiseRejection', message: '[object Object]', status: 128 },
  ],
  [
    'a rejection with an error without a message',
    '(Promise.reject(new Error()), new Promise(() => setInterval(() => {}, 1000)))',
    { type: 'Runtime.UnhandledPromiseRejection', message: 'Error', status: 128 },
    { onAws: 'no frames of the function' },
  ],
  [
    'a rejection with a named error',
    '(Promise.reject(Object.assign(new Error("m"), { name: "Named" })), new Promise(() => setInterval(() => {}, 1000)))',
    { type: 'Runtime.UnhandledPromiseRejection', message: 'Named: m', status: 128 },
    { onAws: 'no frames of the function' },
  ],
  [
    'a rejection in queueMicrotask',
    '(queueMicrotask(() => throws(new RangeError("micro"))), new Promise(() => setInterval(() => {}, 1000)))',
    { type: 'RangeError', message: 'micro', stack: ['RangeError: micro', '    at /function/app.js'], status: 129 },
  ],
];
