/**
 * What functions in Node return that is out of the ordinary, and what becomes of it with aws-lambda-ric 3.3.0:
 * the values are what that posts to a Runtime API. Where ours is another on purpose, `onAws` tells theirs.
 */
import type { Value } from './lambda-values.ts';

export const prelude = `
const vm = require('node:vm');
const util = require('node:util');
const throws = (value) => { throw value; };
const trap = (name) => ({ get [name]() { throw new Error('trap'); } });
class Told extends Error { get name() { return 'ToldError'; } }
class Numbered extends Error { constructor() { super('numbered'); this.name = 7; } }
const nested = (depth) => { let value = []; for (let n = 0; n < depth; n++) value = [value]; return value; };
const withMembers = (error, members) => Object.defineProperties(error, Object.getOwnPropertyDescriptors(members));
function recursion() { return recursion() + 1; }
function deep(n) { if (n === 0) throw new Error('deep'); deep(n - 1); }
`;

/** By one process, one after the other, from an `async` handler. */
export const results: readonly Value[] = [
  ['undefined', 'undefined', 'null'],
  ['null', 'null', 'null'],
  [
    'numbers',
    '[NaN, Infinity, -Infinity, -0, 1e21, 1e-7, 0.1 + 0.2, 2 ** 53 + 2]',
    '[null,null,null,0,1e+21,1e-7,0.30000000000000004,9007199254740994]',
  ],
  ['minus zero alone', '-0', '0'],
  ['NaN alone', 'NaN', 'null'],
  ['a BigInt', '1n', { type: 'Error', message: 'Unable to stringify response body' }],
  ['a BigInt inside', '({ n: [1n] })', { type: 'Error', message: 'Unable to stringify response body' }],
  ['a BigInt with toJSON', 'Object.assign(Object(1n), { toJSON: () => "one" })', '"one"'],
  ['a symbol', 'Symbol("s")', { type: 'TypeError', message: 'Wrong arguments' }],
  ['symbols inside', '({ a: Symbol("s"), [Symbol("k")]: 1, b: [Symbol("t")] })', '{"b":[null]}'],
  ['a function', '() => 1', { type: 'TypeError', message: 'Wrong arguments' }],
  ['functions inside', '({ f() {}, g: [() => 1], h: class {} })', '{"g":[null]}'],
  ['a class', 'class A {}', { type: 'TypeError', message: 'Wrong arguments' }],
  ['a Map', 'new Map([[1, 2]])', '{}'],
  ['a Set', '[new Set([1])]', '[{}]'],
  ['a WeakMap', 'new WeakMap()', '{}'],
  ['a Date', 'new Date(0)', '"1970-01-01T00:00:00.000Z"'],
  ['a date that is none', '[new Date(NaN)]', '[null]'],
  ['a RegExp', '/x/g', '{}'],
  ['an error', 'new Error("x")', '{}'],
  ['an error with members', 'Object.assign(new Error("x"), { code: 1 })', '{"code":1}'],
  ['a URL', 'new URL("http://localhost/a?b")', '"http://localhost/a?b"'],
  ['URLSearchParams', 'new URLSearchParams("a=b")', '{}'],
  ['Headers', 'new Headers({ a: "b" })', '{}'],
  ['a Buffer', 'Buffer.from("hi")', '{"type":"Buffer","data":[104,105]}'],
  [
    'typed arrays',
    '[new Uint8Array([1, 2]), new Float64Array([NaN]), new Uint8ClampedArray(1)]',
    '[{"0":1,"1":2},{"0":null},{"0":0}]',
  ],
  ['a BigInt64Array', 'new BigInt64Array(1)', { type: 'Error', message: 'Unable to stringify response body' }],
  ['an ArrayBuffer', 'new ArrayBuffer(2)', '{}'],
  ['a DataView', 'new DataView(new ArrayBuffer(2))', '{}'],
  ['sparse arrays', '[[1, , 2], new Array(2)]', '[[1,null,2],[null,null]]'],
  ['an array with members', 'Object.assign([1], { a: 2 })', '[1]'],
  ['toJSON', '({ toJSON: (key) => ({ key }) })', '{"key":""}'],
  [
    'toJSON that throws',
    '({ toJSON() { throw new RangeError("toJSON"); } })',
    { type: 'Error', message: 'Unable to stringify response body' },
  ],
  ['toJSON that returns undefined', '({ toJSON() {} })', { type: 'TypeError', message: 'Wrong arguments' }],
  ['toJSON inside that returns undefined', '({ a: { toJSON() {} }, b: [{ toJSON() {} }] })', '{"b":[null]}'],
  ['toJSON that is no function', '({ toJSON: 1 })', '{"toJSON":1}'],
  ['a getter', '({ get a() { return 1; } })', '{"a":1}'],
  ['a getter that throws', 'trap("a")', { type: 'Error', message: 'Unable to stringify response body' }],
  ['a proxy', 'new Proxy({ a: 1 }, {})', '{"a":1}'],
  ['a proxy of an array', 'new Proxy([1, 2], {})', '[1,2]'],
  [
    'a proxy that throws',
    'new Proxy({}, { ownKeys() { throw new Error("trap"); } })',
    { type: 'Error', message: 'Unable to stringify response body' },
  ],
  [
    'a proxy that throws on everything',
    'new Proxy({}, { get() { throw new Error("trap"); } })',
    { type: 'Error', message: 'trap', stack: ['Error: trap', '    at Object.get (/function/app.js)'] },
  ],
  [
    'a revoked proxy',
    `
const { proxy, revoke } = Proxy.revocable({}, {});
revoke();
return [proxy];`,
    { type: 'Error', message: 'Unable to stringify response body' },
  ],
  ['an object without a prototype', 'Object.assign(Object.create(null), { a: 1 })', '{"a":1}'],
  [
    'hidden and inherited members',
    'Object.create({ a: 1 }, { b: { value: 2 }, c: { value: 3, enumerable: true } })',
    '{"c":3}',
  ],
  ['__proto__ as a key', 'JSON.parse(\'{"__proto__":1}\')', '{"__proto__":1}'],
  ['boxed values', '[new String("s"), new Number(1), new Boolean(false)]', '["s",1,false]'],
  ['lone surrogates', '["\\ud800", "\\udc00x", { "\\ud83d": 1 }]', '["\\ud800","\\udc00x",{"\\ud83d":1}]'],
  ['control characters and DEL', '"\\0\\x1f\\x7f\\t\\n\\"\\\\/\\u2028"', '"\\u0000\\u001f\u007f\\t\\n\\"\\\\/\u2028"'],
  [
    'an array in itself',
    `
const result = [];
result.push({ result });
return result;`,
    { type: 'Error', message: 'Unable to stringify response body' },
  ],
  ['nesting of 1000', 'nested(1000)', `${'['.repeat(1001)}${']'.repeat(1001)}`],
  ['nesting without an end', 'nested(100000)', { type: 'Error', message: 'Unable to stringify response body' }],
  ['keys in the order of the language', '({ b: 1, 2: 1, a: 1, 1: 1 })', '{"1":1,"2":1,"b":1,"a":1}'],
  ['a generator', '(function* () { yield 1; })()', '{}'],
  ['an async iterator', '(async function* () { yield 1; })()', '{}'],
  [
    'a value of another realm',
    'vm.runInNewContext("[new Date(0), { a: 1 }, /x/]")',
    '["1970-01-01T00:00:00.000Z",{"a":1},{}]',
  ],
  ['a promise in a promise', 'Promise.resolve(Promise.resolve(1))', '1'],
  ['promises inside', '[Promise.resolve(1)]', '[{}]'],
  ['a thenable', '({ then: (resolve) => resolve({ then: (again) => again("twice") }) })', '"twice"'],
  [
    'then that throws',
    '({ get then() { throw new RangeError("then"); } })',
    {
      type: 'RangeError',
      message: 'then',
      stack: ['RangeError: then', '    at get then [as then] (/function/app.js)'],
    },
  ],
  ['then that is no function', '({ then: 1 })', '{"then":1}'],
  ['globalThis', '({ keys: Object.keys(globalThis).includes("then") })', '{"keys":false}'],
];
