import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { Frame } from '../../src/protocol/frame.ts';
import { FrameType, type LoadRequest } from '../../src/protocol/guest.ts';
import {
  buildNodeRuntime,
  failureOf,
  GuestProcess,
  runningGuests,
  type GuestLanguage,
} from '../support/guest-process.ts';
import { lastAnswers, loadFailures, nodeCases, pythonCases, type Outcome } from './lambda-cases.ts';
import { lambdaNode, lambdaPython } from './lambda-functions.ts';

const functions = { python: lambdaPython, node: lambdaNode };
const cases = { python: pythonCases, node: nodeCases };
const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:under-test';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

async function withFunction(
  language: GuestLanguage,
  handler: string,
  use: (guest: GuestProcess) => Promise<void>,
  load: Partial<LoadRequest> = {},
): Promise<void> {
  const guest = await GuestProcess.start(language, functions[language]);
  try {
    const answer = await guest.load({ handler, style: 'lambda', ...load });
    assert.equal(answer.type, FrameType.loaded, answer.payload.toString());
    await use(guest);
  } finally {
    await guest.stop();
  }
}

/** Loads a function whose process will end by itself. */
async function startLast(language: GuestLanguage, handler: string): Promise<GuestProcess> {
  const guest = await GuestProcess.start(language, functions[language]);
  assert.equal((await guest.load({ handler, style: 'lambda' })).type, FrameType.loaded);
  return guest;
}

function assertOutcome(frame: Frame, outcome: Outcome): void {
  const text = frame.payload.toString('utf8');
  if ('result' in outcome) {
    assert.equal(text, outcome.result);
    assert.equal(frame.type, FrameType.result);
    return;
  }
  const failure = failureOf(frame);
  assert.equal(failure.type, outcome.type, text);
  assertText(failure.message, outcome.message);
  for (const [at, line] of (outcome.stack ?? []).entries()) assertText(failure.stack[at] ?? '', line);
  if (outcome.stack?.length === 0) assert.deepEqual(failure.stack, []);
  // Node's list of modules that required each other begins with the runtime's.
  const frames = failure.stack.filter((line) => !line.startsWith('- '));
  assert.doesNotMatch(frames.join('\n'), /guest\/(node|runtimes)/, 'no frame is of the runtime');
}

function assertText(actual: string, expected: string | RegExp): void {
  if (typeof expected === 'string') assert.equal(actual, expected);
  else assert.match(actual, expected);
}

async function jsonOf(
  guest: GuestProcess,
  header: Parameters<GuestProcess['invoke']>[1] = {},
): Promise<Record<string, unknown>> {
  const reply = await guest.invoke('{}', header);
  assert.equal(reply.type, FrameType.result, reply.payload.toString());
  return JSON.parse(reply.payload.toString('utf8')) as Record<string, unknown>;
}

for (const language of ['python', 'node'] as const) {
  const check = (title: string, run: () => Promise<void>) => test(`${language}: ${title}`, run);

  suite(`handlers of Lambda's style, ${language}`, () => {
    for (const { handler, event = '{}', outcome } of cases[language]) {
      const what = 'result' in outcome ? outcome.result : outcome.type;
      check(`${handler} answers ${event} with ${what}, twice`, () =>
        withFunction(language, handler, async (guest) => {
          assertOutcome(await guest.invoke(event), outcome);
          assertOutcome(await guest.invoke(event), outcome);
        }),
      );
    }

    for (const { handler, outcome } of loadFailures[language]) {
      const what = 'result' in outcome ? outcome.result : outcome.type;
      check(`the import of ${handler} fails with ${what}`, async () => {
        const guest = await GuestProcess.start(language, functions[language]);
        const answer = await guest.load({ handler, style: 'lambda' });
        assert.equal(answer.type, FrameType.loadFailed);
        assertOutcome(answer, outcome);
        await guest.remove();
      });
    }

    check('keeps what the module keeps from one invocation to the next', () =>
      withFunction(language, 'app.count', async (guest) => {
        for (const count of ['1', '2', '3']) assertOutcome(await guest.invoke('{}'), { result: count });
      }),
    );

    check('refuses a result over the limit in the words of Lambda, and goes on', () =>
      withFunction(
        language,
        'app.large',
        async (guest) => {
          assertOutcome(await guest.invoke('98'), { result: `"${'x'.repeat(98)}"` });
          const reply = await guest.invoke('99');
          assertOutcome(reply, {
            type: 'Function.ResponseSizeTooLarge',
            message: 'Response payload size exceeded maximum allowed payload size (100 bytes).',
            stack: [],
          });
          assert.equal(failureOf(reply).raw, true);
          assertOutcome(await guest.invoke('1'), { result: '"x"' });
        },
        { max_result_bytes: 100 },
      ),
    );

    for (const [handler, status] of [
      ['leaves', 0],
      ['leaves', 1],
      ['leaves', 127],
      ...(language === 'python' ? ([['leaves_at_once', 3]] as const) : []),
    ] as const) {
      check(`app.${handler} ends the process with ${status}, and what it printed is there`, async () => {
        const guest = await startLast(language, `app.${handler}`);
        guest.send(String(status));
        await assert.rejects(guest.nextFunctionFrame());
        assert.deepEqual(await guest.remove(), { status, signal: null });
        assert.match((await guest.printedBy(1)).stdout, /bye\n?$/);
      });
    }

    check('a handler that is killed answers nothing', async () => {
      const guest = await startLast(language, 'app.killed');
      guest.send('{}');
      await assert.rejects(guest.nextFunctionFrame());
      assert.deepEqual(await guest.remove(), { status: null, signal: 'SIGKILL' });
    });

    check('output that looks like frames stays output', () =>
      withFunction(language, 'app.frames', async (guest) => {
        assertOutcome(await guest.invoke('{}'), { result: '"real"' });
        assert.equal((await guest.printedBy(1)).stdout, '\0\0\0\x05\x02\0\0{}'.repeat(3));
      }),
    );

    check('finds the variables of Lambda, its own on top, but for what is reserved', () =>
      withFunction(
        language,
        'app.environment',
        async (guest) => {
          const found = await jsonOf(guest, { trace: 'Root=1-5759e988-bd862e3fe1be46a994272793' });
          const version = language === 'node' ? /^AWS_Lambda_nodejs\d+\.x$/ : /^AWS_Lambda_python3\.\d+$/;
          assert.equal(found['cwd'], guest.root);
          assert.equal(found['PWD'], guest.root);
          assert.equal(found['LAMBDA_TASK_ROOT'], guest.root);
          assert.match(String(found['LAMBDA_RUNTIME_DIR']), /^\//);
          assert.match(String(found['AWS_EXECUTION_ENV']), version);
          assert.equal(found['AWS_LAMBDA_INITIALIZATION_TYPE'], 'snap-start');
          assert.equal(found['AWS_LAMBDA_FUNCTION_NAME'], 'under-test');
          assert.equal(found['AWS_LAMBDA_LOG_GROUP_NAME'], '/aws/lambda/under-test');
          assert.match(String(found['AWS_LAMBDA_LOG_STREAM_NAME']), /^\d{4}\/\d\d\/\d\d\/\[\$LATEST\][0-9a-f]{32}$/);
          assert.equal(found['_HANDLER'], 'app.environment');
          assert.equal(found['TZ'], ':UTC');
          assert.equal(found['LD_LIBRARY_PATH'], '/mine');
          assert.equal(found['_X_AMZN_TRACE_ID'], 'Root=1-5759e988-bd862e3fe1be46a994272793');
          assert.equal((await jsonOf(guest))['_X_AMZN_TRACE_ID'], undefined);
        },
        {
          initialization: 'snap-start',
          environment: {
            TZ: ':UTC',
            AWS_LAMBDA_FUNCTION_NAME: 'under-test',
            LD_LIBRARY_PATH: '/mine',
            LAMBDA_TASK_ROOT: '/elsewhere',
          },
        },
      ),
    );

    check('asks for the end of the log where it is wanted, with the number of the invocation', () =>
      withFunction(language, 'app.echo', async (guest) => {
        await guest.invoke('1');
        await guest.invoke('2', { log_end: true });
        await guest.invoke('3');
        await guest.printedBy(3);
        assert.deepEqual(guest.doneHeaders, [{}, { log_end: true, request: 2 }, {}]);
      }),
    );

    check('asks for the end of the log where output goes as frames, too, and else says nothing of the end', () =>
      withFunction(
        language,
        'app.echo',
        async (guest) => {
          await guest.invoke('1');
          await guest.invoke('2', { log_end: true });
          await guest.printedBy(1);
          assert.deepEqual(guest.doneHeaders, [{ log_end: true, request: 2 }]);
        },
        { output: 'frames' },
      ),
    );

    check('gives each VM a log stream of its own, before a snapshot and after the restore', () =>
      withFunction(language, 'app.environment', async (guest) => {
        const first = (await jsonOf(guest))['AWS_LAMBDA_LOG_STREAM_NAME'];
        const other = await GuestProcess.start(language, functions[language]);
        try {
          await other.import({ handler: 'app.environment', style: 'lambda' });
          assert.equal((await other.command(FrameType.seal, { step: 'hooks' })).type, FrameType.sealed);
          assert.equal((await other.command(FrameType.start, { restored: true })).type, FrameType.started);
          assert.deepEqual(await other.printedBy(0), { stdout: '', stderr: '' }, 'a rehearsal prints nothing');
          const second = (await jsonOf(other))['AWS_LAMBDA_LOG_STREAM_NAME'];
          assert.equal(typeof second, 'string');
          assert.notEqual(second, first);
        } finally {
          await other.stop();
        }
      }),
    );
  });
}

test('node: the context has the members of Lambda, in its order', () =>
  withFunction('node', 'app.members', async (guest) => {
    const { keys, remaining, ...members } = await jsonOf(guest, { id: 'the-id', deadline_ms: Date.now() + 30_000 });
    const { logStreamName, ...rest } = members;
    assert.match(String(logStreamName), /^\d{4}\/\d\d\/\d\d\/\[\$LATEST\][0-9a-f]{32}$/);
    assert.deepEqual(rest, {
      callbackWaitsForEmptyEventLoop: true,
      functionVersion: '$LATEST',
      functionName: 'under-test',
      memoryLimitInMB: '128',
      logGroupName: '/aws/lambda/under-test',
      invokedFunctionArn: ARN,
      awsRequestId: 'the-id',
    });
    for (const name of [
      'succeed',
      'fail',
      'done',
      'identity',
      'clientContext',
      'getRemainingTimeInMillis',
      'tenantId',
    ]) {
      assert.ok((keys as string[]).includes(name), name);
    }
    assert.ok(Number(remaining) > 0 && Number(remaining) <= 30_000);
    const qualified = await jsonOf(guest, {
      deadline_ms: 0,
      arn: `${ARN}:prod`,
      client_context: '{"custom":{"foo":"bar"}}',
      cognito_identity: '{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}',
    });
    assert.equal(qualified['invokedFunctionArn'], `${ARN}:prod`);
    assert.deepEqual(qualified['clientContext'], { custom: { foo: 'bar' } });
    assert.deepEqual(qualified['identity'], { cognitoIdentityId: 'i', cognitoIdentityPoolId: 'p' });
    assert.equal(qualified['remaining'], 0);
  }));

test('python: the context has the members of Lambda, and its text', () =>
  withFunction('python', 'app.members', async (guest) => {
    const { remaining, log_stream_name, ...rest } = await jsonOf(guest, {
      id: 'the-id',
      deadline_ms: Date.now() + 30_000,
    });
    assert.match(String(log_stream_name), /^\d{4}\/\d\d\/\d\d\/\[\$LATEST\][0-9a-f]{32}$/);
    assert.ok(Number(remaining) > 0 && Number(remaining) <= 30_000);
    assert.deepEqual(rest, {
      function_name: 'under-test',
      function_version: '$LATEST',
      invoked_function_arn: ARN,
      memory_limit_in_mb: '128',
      aws_request_id: 'the-id',
      log_group_name: '/aws/lambda/under-test',
      tenant_id: null,
      client_context: null,
      identity: [null, null],
    });
    const qualified = await jsonOf(guest, {
      deadline_ms: 0,
      arn: `${ARN}:$LATEST`,
      client_context: '{"custom":{"foo":"bar"},"env":{"e":1},"client":{"app_title":"t"}}',
      cognito_identity: '{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}',
    });
    assert.equal(qualified['invoked_function_arn'], `${ARN}:$LATEST`);
    assert.deepEqual(qualified['client_context'], { custom: { foo: 'bar' }, env: { e: 1 }, app_title: 't' });
    assert.deepEqual(qualified['identity'], ['i', 'p']);
    assert.equal(qualified['remaining'], 0);
  }));

test('python: the context shows itself as in Lambda', () =>
  withFunction('python', 'app.shown', async (guest) => {
    const reply = await guest.invoke('{}', { client_context: '{"custom":{"a":1}}' });
    const text = String(JSON.parse(reply.payload.toString()));
    assert.match(
      text,
      /^LambdaContext\(\[aws_request_id=request-1,log_group_name=\/aws\/lambda\/under-test,log_stream_name=\d/,
    );
    assert.match(text, /,client_context=ClientContext\(\[custom=\{'a': 1\},env=None,client=None\]\),/);
    assert.match(
      text,
      /identity=CognitoIdentity\(\[cognito_identity_id=None,cognito_identity_pool_id=None\]\),tenant_id=None\]\)$/,
    );
  }));

test('python: bytes leave as they are, unless the result has to be JSON', () =>
  withFunction('python', 'app.raw', async (guest) => {
    const reply = await guest.invoke('{}');
    assert.equal(reply.type, FrameType.result);
    assert.deepEqual(reply.header, { content_type: 'application/unknown' });
    assert.deepEqual([...reply.payload], [0, 255, 0x7b]);
    assertOutcome(await guest.invoke('{}', { strict: true }), {
      type: 'Runtime.MarshalError',
      message: 'Unable to marshal response: Object of type bytes is not JSON serializable',
    });
  }));

test('python: NaN is a failure where the result has to be JSON', () =>
  withFunction('python', 'app.nan', async (guest) => {
    assertOutcome(await guest.invoke('{}', { strict: true }), {
      type: 'Runtime.MarshalError',
      message: /^Unable to marshal response: Out of range float values are not JSON compliant/,
    });
    assertOutcome(await guest.invoke('{}'), { result: '{"nan": NaN, "inf": Infinity}' });
  }));

test('python: text is escaped or not as in the same version of Lambda', () =>
  withFunction('python', 'app.text', async (guest) => {
    const text = (await guest.invoke('{}')).payload.toString('utf8');
    const [, minor] = guest.version.split('.');
    assert.equal(text, `{"text": "${Number(minor) < 12 ? '\\u00e9' : 'é'}", "list": [1, 2]}`);
  }));

for (const [handler, error] of [
  ['stops', 'app.Stop: no exception'],
  ['interrupted', 'KeyboardInterrupt'],
] as const) {
  test(`python: what is no Exception (app.${handler}) ends the process, and is on stderr`, async () => {
    const guest = await startLast('python', `app.${handler}`);
    guest.send('{}');
    await assert.rejects(guest.nextFunctionFrame());
    assert.deepEqual(await guest.remove(), { status: 1, signal: null });
    const { stderr } = await guest.printedBy(1);
    const where = new RegExp(
      `^Traceback \\(most recent call last\\):\\n {2}File ".*/app.py", line \\d+, in ${handler}\\n`,
    );
    assert.match(stderr, where);
    assert.ok(stderr.endsWith(`${error}\n`), stderr);
  });
}

test('python: the stack of a failed import has the frames of the import', async () => {
  const guest = await GuestProcess.start('python', lambdaPython);
  const failure = failureOf(await guest.load({ handler: 'raises.handle', style: 'lambda' }));
  await guest.remove();
  assert.match(failure.stack[0] ?? '', /importlib\/__init__\.py", line \d+, in import_module\n/);
  assert.match(failure.stack[1] ?? '', /^ {2}File "<frozen importlib\._bootstrap>", line \d+, in _gcd_import\n$/);
  assert.match(
    failure.stack.at(-1) ?? '',
    /raises\.py", line 1, in <module>\n {4}raise Exception\("Runtime startup fails"\)\n$/,
  );
  const { stdout } = await guest.printedBy(0);
  assert.match(
    stdout,
    /^\[ERROR\] Exception: Runtime startup fails\nTraceback \(most recent call last\):\n\u00a0\u00a0File /,
  );
});

const jsonLog = { environment: { AWS_LAMBDA_LOG_FORMAT: 'JSON' } };
const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

test('python: logging and print reach the log as in Lambda', () =>
  withFunction('python', 'app.logs', async (guest) => {
    await guest.invoke('{}', { id: 'the-id' });
    const { stdout, stderr } = await guest.printedBy(1);
    const lines = [
      String.raw`\[INFO\]\t${TIME}\tthe-id\tfrom logging`,
      String.raw`\[ERROR\]\t${TIME}\tthe-id\toh`,
      'no',
      'from print',
      'from context',
    ];
    assert.match(stdout, new RegExp(`^${lines.join('\\n')}$`));
    assert.equal(stderr, '');
  }));

test('python: a module that logs while it is imported finds logging set up, with no request', () =>
  withFunction('python', 'logs_early.handle', async (guest) => {
    assert.match((await guest.printedBy(0)).stdout, new RegExp(String.raw`^\[WARNING\]\t${TIME}\t\tearly\n$`));
  }));

test('python: a rehearsal of logging prints nothing', async () => {
  const guest = await GuestProcess.start('python', lambdaPython);
  await guest.import({ handler: 'logs_early.handle', style: 'lambda' });
  assert.equal((await guest.command(FrameType.seal, { step: 'hooks' })).type, FrameType.sealed);
  assert.equal((await guest.command(FrameType.start, { restored: true })).type, FrameType.started);
  assert.match((await guest.printedBy(0)).stdout, /^\[WARNING\]\t[^\n]*\tearly\n$/);
  await guest.stop();
});

test('python: lines of the log are JSON where that is wanted, from the wanted level on', () =>
  withFunction(
    'python',
    'app.logs',
    async (guest) => {
      await guest.invoke('{}', { id: 'the-id' });
      const [first] = (await guest.printedBy(1)).stdout.split('\n');
      const { timestamp, ...rest } = JSON.parse(first ?? '') as Record<string, unknown>;
      assert.match(String(timestamp), new RegExp(`^${TIME}$`));
      assert.deepEqual(rest, { level: 'INFO', message: 'from logging', logger: 'root', requestId: 'the-id' });
    },
    { environment: { AWS_LAMBDA_LOG_FORMAT: 'JSON', AWS_LAMBDA_LOG_LEVEL: 'ERROR' } },
  ));

test('python: each record ends its line, also with a traceback or in a format of the function', () =>
  withFunction('python', 'app.logs_errors', async (guest) => {
    await guest.invoke('{"zero":0}', { id: 'the-id' });
    const lines = (await guest.printedBy(1)).stdout.split('\n');
    assert.match(lines[0] ?? '', /^\[ERROR\]\t.*\tthe-id\tfailed$/);
    const last = lines.indexOf('ZeroDivisionError: division by zero');
    assert.ok(last > 0, lines.join('\n'));
    assert.match(lines[last + 1] ?? '', new RegExp(`^\\[INFO\\]\\t${TIME}\\tthe-id\\tnext$`));
    assert.deepEqual(lines.slice(last + 2), ['own: one', 'own: two', '']);
  }));

test('python: a JSON line has what the record has on top, and where an exception was logged', () =>
  withFunction(
    'python',
    'app.logs_more',
    async (guest) => {
      await guest.invoke('{"zero":0}', { id: 'the-id' });
      const lines = (await guest.printedBy(1)).stdout.trimEnd().split('\n');
      const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      for (const line of parsed) {
        assert.match(String(line['timestamp']), new RegExp(`^${TIME}$`));
        delete line['timestamp'];
      }
      const [noticed, failed, last] = parsed;
      const common = { logger: 'root', requestId: 'the-id' };
      assert.deepEqual(noticed, {
        ...common,
        level: 'INFO',
        message: 'noticed',
        order_id: 7,
        tags: { of: [1, "<class 'app.Service'>"] },
      });
      const { location, stackTrace, ...rest } = failed ?? {};
      assert.deepEqual(rest, {
        ...common,
        level: 'ERROR',
        message: 'failed',
        errorType: 'ZeroDivisionError',
        errorMessage: 'division by zero',
      });
      const frame = /^ {2}File ".*\/app\.py", line (\d+), in logs_more\n {4}1 \/ event\["zero"\]\n/;
      assert.ok(Array.isArray(stackTrace) && stackTrace.length === 1, JSON.stringify(stackTrace));
      const [, line] = frame.exec(String(stackTrace[0])) ?? [];
      assert.equal(location, `${guest.root}/app.py:logs_more:${Number(line) + 2}`);
      assert.deepEqual(last, { ...common, level: 'CRITICAL', message: 'no exception' });
    },
    jsonLog,
  ));

test('python: a failure is in the log, with indentation that stays', () =>
  withFunction('python', 'app.throws', async (guest) => {
    await guest.invoke('{}');
    const { stdout } = await guest.printedBy(1);
    const where = `\u00a0\u00a0File "${guest.root}/app.py", line 44, in throws`;
    const code = '\u00a0\u00a0\u00a0\u00a0raise CustomException("some error occurred")';
    assert.equal(
      stdout,
      `[ERROR] CustomException: some error occurred\nTraceback (most recent call last):\n${where}\n${code}\n`,
    );
  }));

test('node: console writes lines as in Lambda, all to stdout', () =>
  withFunction('node', 'app.logs', async (guest) => {
    await guest.invoke('{}', { id: 'the-id' });
    const { stdout, stderr } = await guest.printedBy(1);
    const line = (level: string, text: string): string => String.raw`${TIME}\tthe-id\t${level}\t${text}\n`;
    const lines = [
      line('INFO', 'a b { c: 1 }'),
      line('INFO', 'info'),
      line('WARN', 'warn'),
      line('ERROR', 'shown'),
      line('DEBUG', 'debug'),
      line('TRACE', 'trace'),
      line('INFO', 'two\\nlines'),
    ];
    assert.match(stdout, new RegExp(`^${lines.join('')}$`));
    assert.equal(stderr, '');
  }));

test('node: lines of the log are JSON where that is wanted, from the wanted level on', () =>
  withFunction(
    'node',
    'app.logs',
    async (guest) => {
      await guest.invoke('{}', { id: 'the-id' });
      const lines = (await guest.printedBy(1)).stdout.trimEnd().split('\n');
      const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      assert.deepEqual(
        parsed.map(({ level, message, requestId }) => [level, message, requestId]),
        [
          ['WARN', 'warn', 'the-id'],
          ['ERROR', 'shown', 'the-id'],
        ],
      );
    },
    { environment: { AWS_LAMBDA_LOG_FORMAT: 'JSON', AWS_LAMBDA_LOG_LEVEL: 'WARN' } },
  ));

test('node: a JSON line tells of errors wherever they are, once and with their own members', () =>
  withFunction(
    'node',
    'app.logs_json',
    async (guest) => {
      await guest.invoke('{}', { id: 'the-id' });
      const lines = (await guest.printedBy(1)).stdout.trimEnd().split('\n');
      const parsed = lines.map((text) => {
        const { timestamp, requestId, level, ...rest } = JSON.parse(text) as Record<string, unknown>;
        assert.match(String(timestamp), new RegExp(`^${TIME}$`));
        assert.equal(requestId, 'the-id');
        assert.match(String(level), /^(ERROR|INFO)$/);
        return rest;
      });
      const [alone, within, nothing, formatted, circular, unknown] = parsed;
      const { stackTrace } = alone?.['message'] as { stackTrace: string[] };
      assert.equal(stackTrace[0], 'TypeError: boom');
      assert.match(stackTrace[1] ?? '', /^ {4}at exports\.logs_json \(.*\/app\.js:\d+:\d+\)$/);
      assert.doesNotMatch(stackTrace.join('\n'), /guest\/node/);
      const boom = { errorType: 'TypeError', errorMessage: 'boom', stackTrace };
      const whole = { ...boom, code: 'E_BOOM', orderId: 7 };
      assert.deepEqual(alone, { message: whole });
      const { deep, ...rest } = within?.['message'] as { deep: { cause: Record<string, unknown> }[] };
      assert.deepEqual(rest, { text: 'failed', error: whole });
      assert.equal(deep[0]?.cause['errorType'], 'RangeError');
      assert.equal(deep[0].cause['errorMessage'], 'inner');
      assert.deepEqual(nothing, {});
      const { message, ...details } = formatted ?? {};
      assert.match(String(message), /^with text TypeError: boom\n/);
      assert.deepEqual(details, boom);
      assert.match(String(circular?.['message']), /^<ref \*1> \{ self: \[Circular \*1\] \}$/);
      assert.equal((unknown?.['message'] as Record<string, unknown>)['errorType'], 'UnknownError');
    },
    jsonLog,
  ));

test('node: a failure is in the JSON log, also one that has no text', async () => {
  for (const [handler, errorType, errorMessage] of [
    ['throws_named', 'OutOfCheese', 'redo'],
    ['throws_untold', 'Error', 'a value that has no text'],
  ] as const) {
    await withFunction(
      'node',
      `app.${handler}`,
      async (guest) => {
        await guest.invoke('{}', { id: 'the-id' });
        const { level, message } = JSON.parse((await guest.printedBy(1)).stdout) as Record<string, unknown>;
        assert.equal(level, 'ERROR');
        const { stackTrace, ...details } = message as Record<string, unknown>;
        assert.deepEqual(details, {
          errorType,
          errorMessage,
          ...(handler === 'throws_named' && { name: 'OutOfCheeseError' }),
        });
        assert.ok(Array.isArray(stackTrace));
      },
      jsonLog,
    );
  }
});

test('node: a failure is in the log', () =>
  withFunction('node', 'app.throws_named', async (guest) => {
    await guest.invoke('{}', { id: 'the-id' });
    const { stdout } = await guest.printedBy(1);
    const start = new RegExp(`^${TIME}\\tthe-id\\tERROR\\tInvoke Error \\t(\\{.*\\})\\n$`);
    const logged = JSON.parse(start.exec(stdout)?.[1] ?? '') as Record<string, unknown>;
    assert.equal(logged['errorType'], 'OutOfCheeseError');
    assert.equal(logged['errorMessage'], 'redo');
    assert.ok(Array.isArray(logged['stack']));
  }));

test('node: what runs before the event loop is empty is part of an invocation whose callback was called', () =>
  withFunction('node', 'app.callback_waits', async (guest) => {
    assertOutcome(await guest.invoke('1'), { result: '1' });
    assert.match((await guest.printedBy(1)).stdout, /ran first/);
  }));

for (const { handler, outcome, status } of lastAnswers) {
  test(`node: ${handler} is answered, then the process ends with ${status}`, async () => {
    const guest = await startLast('node', handler);
    assertOutcome(await guest.invoke('{}'), outcome);
    assert.deepEqual(await guest.remove(), { status, signal: null });
  });
}
