/** What handlers of AWS Lambda's style answer, by handler and event. */

/** A result that must come byte for byte, or a failure; `stack` is compared where it is given. */
export type Outcome =
  | { readonly result: string }
  | { readonly type: string; readonly message: string | RegExp; readonly stack?: readonly (string | RegExp)[] };

export interface Case {
  readonly handler: string;
  readonly event?: string;
  readonly outcome: Outcome;
}

const MARSHAL = 'Unable to marshal response: ';

export const pythonCases: readonly Case[] = [
  { handler: 'app.echo', event: '{"n": 9007199254740993}', outcome: { result: '{"n": 9007199254740993}' } },
  { handler: 'app.echo', event: '[1.0,-0.0,1e400]', outcome: { result: '[1.0, -0.0, Infinity]' } },
  { handler: 'app.echo', event: '{"z":1,"a":2}', outcome: { result: '{"z": 1, "a": 2}' } },
  { handler: 'app.none', outcome: { result: 'null' } },
  { handler: 'app.one_parameter', event: '1', outcome: { result: '1' } },
  { handler: 'app.bound_one', event: '1', outcome: { result: '1' } },
  { handler: 'app.bound_two', event: '1', outcome: { result: '[1, "under-test"]' } },
  { handler: 'app.callable_object', event: '1', outcome: { result: '["called", 1]' } },
  // What is called counts, not what it is made of.
  { handler: 'app.decorated', event: '1', outcome: { result: '{"body": 1}' } },
  { handler: 'app.decorated_unpacking', event: '1', outcome: { result: '[1, "under-test"]' } },
  { handler: 'app.decorated_by_object', event: '1', outcome: { result: '[1, "under-test"]' } },
  {
    handler: 'app.no_parameter',
    outcome: { type: 'TypeError', message: 'no_parameter() takes 0 positional arguments but 2 were given', stack: [] },
  },
  {
    handler: 'app.not_callable',
    outcome: { type: 'TypeError', message: "'int' object is not callable", stack: [] },
  },
  {
    handler: 'app.nothing_at_all',
    outcome: { type: 'TypeError', message: "'NoneType' object is not callable", stack: [] },
  },
  { handler: 'app.nan', outcome: { result: '{"nan": NaN, "inf": Infinity}' } },
  { handler: 'app.nested_bytes', outcome: { result: '{"text": "e"}' } },
  {
    handler: 'app.decimals',
    outcome: { result: '[1.10, NaN, {"d": 12345678901234567890.5}, "1.10"]' },
  },
  { handler: 'dir/mod.answer', outcome: { result: '"from a directory"' } },
  { handler: 'dir.mod.answer', outcome: { result: '"from a directory"' } },
  {
    handler: 'app.throws',
    outcome: {
      type: 'CustomException',
      message: 'some error occurred',
      stack: [/^ {2}File ".*\/app\.py", line 44, in throws\n {4}raise CustomException\("some error occurred"\)\n$/],
    },
  },
  { handler: 'app.throws_empty', outcome: { type: 'ValueError', message: '' } },
  {
    handler: 'app.a_set',
    outcome: {
      type: 'Runtime.MarshalError',
      message: `${MARSHAL}Object of type set is not JSON serializable`,
      stack: [],
    },
  },
  {
    handler: 'app.circular',
    outcome: { type: 'Runtime.MarshalError', message: `${MARSHAL}Circular reference detected`, stack: [] },
  },
];

const STRINGIFY = { type: 'Error', message: 'Unable to stringify response body' };

export const nodeCases: readonly Case[] = [
  // 2^53 + 1 is no number of the language's; neither is it in Lambda.
  {
    handler: 'app.echo',
    event: '{"n":9007199254740993,"z":1,"a":1.0}',
    outcome: { result: '{"n":9007199254740992,"z":1,"a":1}' },
  },
  ...['promise', 'thenable', 'callback', 'callback_later', 'callback_waits', 'callback_at_once', 'succeed', 'done'].map(
    (name) => ({ handler: `app.${name}`, event: '{"é":[1]}', outcome: { result: '{"é":[1]}' } }),
  ),
  { handler: 'app.promise_with_timers', event: '1', outcome: { result: '1' } },
  { handler: 'app.plain', event: '1', outcome: { result: 'null' } },
  { handler: 'app.nothing', outcome: { result: 'null' } },
  { handler: 'app.sync_nothing', outcome: { result: 'null' } },
  { handler: 'app.never', outcome: { result: 'null' } },
  { handler: 'app.callback_then_promise', outcome: { result: '"callback"' } },
  { handler: 'app.callback_twice', outcome: { result: '"first"' } },
  { handler: 'app.callback_then_throws', outcome: { result: '"first"' } },
  { handler: 'app.callback_fails', outcome: { type: 'RangeError', message: 'called back' } },
  { handler: 'app.callback_fails_text', outcome: { type: 'string', message: 'just text', stack: [] } },
  { handler: 'app.done_fails', outcome: { type: 'RangeError', message: 'done' } },
  { handler: 'app.fail', outcome: { type: 'RangeError', message: 'failed' } },
  { handler: 'app.fail_nothing', outcome: { type: 'string', message: 'handled', stack: [] } },
  {
    handler: 'app.throws',
    outcome: {
      type: 'TypeError',
      message: 'no such é',
      stack: ['TypeError: no such é', /^ {4}at exports\.throws \(.*\/app\.js:38:32\)$/],
    },
  },
  { handler: 'app.throws_named', outcome: { type: 'OutOfCheeseError', message: 'redo' } },
  { handler: 'app.throws_subclass', outcome: { type: 'Error', message: 'plain name' } },
  { handler: 'app.throws_text', outcome: { type: 'string', message: 'just text', stack: [] } },
  { handler: 'app.throws_number', outcome: { type: 'number', message: '7', stack: [] } },
  { handler: 'app.throws_object', outcome: { type: 'object', message: '[object Object]', stack: [] } },
  { handler: 'app.throws_null', outcome: { type: 'string', message: 'handled', stack: [] } },
  { handler: 'app.throws_undefined', outcome: { type: 'string', message: 'handled', stack: [] } },
  { handler: 'app.throws_trap', outcome: { type: 'Error', message: 'trap' } },
  { handler: 'app.throws_foreign', outcome: { type: 'RangeError', message: 'foreign' } },
  { handler: 'app.buffer', outcome: { result: '{"type":"Buffer","data":[104,105]}' } },
  { handler: 'app.circular', outcome: STRINGIFY },
  { handler: 'app.big_int', outcome: STRINGIFY },
  { handler: 'app.nan', outcome: { result: '[null,null]' } },
  { handler: 'app.a_function', outcome: { type: 'TypeError', message: 'Wrong arguments' } },
  { handler: 'app.nested.deeper.handler', outcome: { result: '"found"' } },
  { handler: 'dir/sub/file.a.b.fn', outcome: { result: '"from a directory"' } },
  { handler: 'module.handler', outcome: { result: '"from mjs"' } },
  { handler: 'module.other', outcome: { result: '"from default"' } },
  { handler: 'common.handler', outcome: { result: '"from cjs"' } },
  { handler: 'bare.handler', outcome: { result: '"from a bare name"' } },
  { handler: 'scoped/esm.handler', outcome: { result: '"undefined"' } },
  { handler: 'packaged.handler', outcome: { result: '"from a package"' } },
  { handler: 'absolute.handler', outcome: { result: '"helped"' } },
];

/** Handlers after whose answer the process ends, and the status it ends with. */
export const lastAnswers: readonly (Case & { readonly status: number })[] = [
  {
    handler: 'app.never_async',
    outcome: {
      type: 'Runtime.NodeJsExit',
      message: /^The Lambda runtime client detected an unexpected Node\.js exit code\./,
    },
    status: 13,
  },
  {
    handler: 'app.rejects_unseen',
    outcome: {
      type: 'Runtime.UnhandledPromiseRejection',
      message: 'RangeError: nobody awaits',
      stack: ['Runtime.UnhandledPromiseRejection: RangeError: nobody awaits', /^ {4}at exports\.rejects_unseen /],
    },
    status: 128,
  },
  {
    handler: 'app.rejects_text_unseen',
    outcome: { type: 'Runtime.UnhandledPromiseRejection', message: 'just text' },
    status: 128,
  },
  { handler: 'app.rejects_after', outcome: { result: '"answered"' }, status: 128 },
  { handler: 'app.throws_later', outcome: { type: 'RangeError', message: 'nobody catches' }, status: 129 },
];

export const loadFailures: Readonly<Record<'python' | 'node', readonly Case[]>> = {
  python: [
    {
      handler: 'absent.handle',
      outcome: {
        type: 'Runtime.ImportModuleError',
        message: "Unable to import module 'absent': No module named 'absent'",
      },
    },
    {
      handler: 'needs.handle',
      outcome: {
        type: 'Runtime.ImportModuleError',
        message: "Unable to import module 'needs': No module named 'surely_not_there'",
        stack: [],
      },
    },
    {
      handler: 'syntax.handle',
      outcome: {
        type: 'Runtime.UserCodeSyntaxError',
        message: /^Syntax error in module 'syntax': (expected ':'|invalid syntax) \(syntax\.py, line 1\)$/,
        stack: [/^ {2}File ".*\/syntax\.py" Line 1\n {4}def handle\(event, context\)\n$/],
      },
    },
    {
      handler: 'app.absent',
      outcome: { type: 'Runtime.HandlerNotFound', message: "Handler 'absent' missing on module 'app'" },
    },
    {
      handler: 'dir/mod.absent',
      outcome: { type: 'Runtime.HandlerNotFound', message: "Handler 'absent' missing on module 'dir/mod'" },
    },
    {
      handler: 'sys.exit',
      outcome: { type: 'Runtime.BuiltInModuleConflict', message: 'Cannot use built-in module sys as a handler module' },
    },
    {
      handler: 'app',
      outcome: {
        type: 'Runtime.MalformedHandlerName',
        message: "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
      },
    },
    { handler: 'raises.handle', outcome: { type: 'Exception', message: 'Runtime startup fails' } },
  ],
  node: [
    {
      handler: 'absent.handler',
      outcome: {
        type: 'Runtime.ImportModuleError',
        message: /^Error: Cannot find module 'absent'\nRequire stack:\n- /,
      },
    },
    {
      handler: 'needs.handler',
      outcome: {
        type: 'Runtime.ImportModuleError',
        message: /^Error: Cannot find module 'surely-not-there'\nRequire stack:\n- .*\/needs\.js/,
      },
    },
    {
      handler: 'syntax.handler',
      outcome: { type: 'Runtime.UserCodeSyntaxError', message: "SyntaxError: Unexpected token '=>'" },
    },
    {
      handler: 'app.absent',
      outcome: { type: 'Runtime.HandlerNotFound', message: 'app.absent is undefined or not exported' },
    },
    {
      handler: 'app.not_a_function',
      outcome: { type: 'Runtime.HandlerNotFound', message: 'app.not_a_function is not a function' },
    },
    { handler: 'app', outcome: { type: 'Runtime.MalformedHandlerName', message: 'Bad handler' } },
    {
      handler: '../app.echo',
      outcome: { type: 'Runtime.MalformedHandlerName', message: /^'\.\.\/app\.echo' is not a valid handler name\./ },
    },
    { handler: 'raises.handler', outcome: { type: 'RangeError', message: 'Runtime startup fails' } },
    {
      handler: 'hangs.handler',
      outcome: { type: 'Runtime.NodeJsExit', message: /^The Lambda runtime client detected an unexpected/ },
    },
    {
      handler: 'rejects.handler',
      outcome: { type: 'Runtime.UnhandledPromiseRejection', message: 'RangeError: early' },
    },
  ],
};
