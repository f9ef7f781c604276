/**
 * Calls of `(event, responseStream, context)` handlers, which `awslambda.streamifyResponse` has marked. The answer is
 * complete when the returned promise is fulfilled and the stream has ended, in whichever order. What was written before
 * an error goes out before it. Where the host takes no CHUNKs and needs JSON, what was written has to be JSON.
 */
import buffer = require('node:buffer');
import stream = require('node:stream');
import type { LambdaAnswers, LambdaCall } from './lambda-answers.cjs';
import { addContext, type FunctionFacts } from './lambda-context.cjs';
import { highWaterMarkOf, ResponseStream } from './lambda-stream.cjs';
import type { InvokeHeader } from './protocol.cjs';
import { isThenable, type Handler } from './style.cjs';

const NOTHING = Buffer.alloc(0);

interface StreamedHeader extends InvokeHeader {
  /** The result has to be JSON. */
  readonly strict?: boolean;
}

function isJson(bytes: Buffer): boolean {
  if (!buffer.isUtf8(bytes)) return false;
  try {
    JSON.parse(bytes.toString());
    return true;
  } catch {
    return false;
  }
}

export function callStreamed(
  answers: LambdaAnswers,
  facts: FunctionFacts,
  handler: Handler,
  event: unknown,
  header: StreamedHeader,
  call: number,
): LambdaCall {
  const isSent = header.stream === true;
  const response = new ResponseStream({
    highWaterMark: highWaterMarkOf(handler),
    fd: isSent ? answers.fd : null,
    maxBytes: answers.maxResultBytes,
  });
  let isReturned = false;
  let isFinished = false;

  const succeed = (bytes: Buffer, contentType: string | undefined): void => {
    if (header.strict === true && !isJson(bytes)) answers.refuseBytes();
    else answers.succeedWithBytes(bytes, contentType);
  };
  const end = (): void => {
    if (!isReturned || !isFinished || !answers.isOpen(call)) return;
    const contentType = response.toldContentType ? undefined : response.contentType;
    if (isSent) answers.succeedWithBytes(NOTHING, contentType);
    else if (response.bytes > answers.maxResultBytes) answers.refuse();
    else succeed(response.kept(), contentType);
  };
  const fail = (error: unknown): void => {
    response.end();
    stream.finished(response, () => {
      response.whenIdle(() => {
        answers.fail(call, error);
      });
    });
  };
  stream.finished(response, (error) => {
    isFinished = error === undefined || error === null;
    if (isFinished) end();
    else response.whenIdle(() => answers.fail(call, error));
  });
  try {
    const context = addContext({ callbackWaitsForEmptyEventLoop: true }, facts, header);
    const returned = handler(event, response, context);
    if (isThenable(returned)) {
      returned.then((result) => {
        if (result !== undefined) console.warn('Streaming handlers ignore return values.');
        isReturned = true;
        end();
      }, fail);
    } else {
      fail('Streaming does not support non-async handlers.');
    }
  } catch (error) {
    fail(error);
  }
  return {
    call,
    eventLoopIsEmpty() {
      if (isReturned) answers.fail(call, new Error('Response stream is not finished.'));
      else answers.neverSettles();
    },
    whenIdle(then) {
      response.whenIdle(then);
    },
  };
}
