import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { FrameType } from '../../src/protocol/guest.ts';
import { buildNodeRuntime, failureOf, GuestProcess, runningGuests } from '../support/guest-process.ts';
import { lastAnswers, loadFailures, nodeCases, pythonCases } from './lambda-cases.ts';
import { lambdaPython } from './lambda-functions-python.ts';
import { assertOutcome, functions, jsonOf, startLast, withFunction } from './lambda-guest.ts';

const cases = { python: pythonCases, node: nodeCases };
const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:under-test';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

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

for (const [what, given, fields] of [
  [
    'of texts',
    '{"traceparent":"00-1","tracestate":"a=b","baggage":"c"}',
    { traceparent: '00-1', tracestate: 'a=b', baggage: 'c' },
  ],
  ['of what is not a text or not known', '{"traceparent":1,"baggage":"c","other":"d"}', { baggage: 'c' }],
  ['that is no object', '["traceparent"]', {}],
] as const) {
  test(`python: a trace context ${what} is the context's, not the client's`, () =>
    withFunction('python', 'app.trace_context', async (guest) => {
      const reply = await guest.invoke('{}', { client_context: `{"custom":{"a":1},"w3c":${given}}` });
      assert.deepEqual(JSON.parse(reply.payload.toString()), [fields, true, { a: 1 }, false]);
    }));
}

test('python: without a trace context there are no fields of one', () =>
  withFunction('python', 'app.trace_context', async (guest) => {
    const reply = await guest.invoke('{}');
    assert.deepEqual(JSON.parse(reply.payload.toString()), [{}, true, null, false]);
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

for (const [handler, error, exit] of [
  ['stops', 'app.Stop: no exception', { status: 1, signal: null }],
  ['interrupted', 'KeyboardInterrupt', { status: null, signal: 'SIGINT' }],
] as const) {
  test(`python: what is no Exception (app.${handler}) ends the process, and is on stderr`, async () => {
    const guest = await startLast('python', `app.${handler}`);
    guest.send('{}');
    await assert.rejects(guest.nextFunctionFrame());
    assert.deepEqual(await guest.remove(), exit);
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
