/**
 * SnapFaaS's Node runtime: loads one function and answers its invocations, one at a time, for as long as the VM lives.
 *
 * Started by init (or by the `process` driver) with two inherited descriptors, both carrying frames (`channel.cts`):
 *
 * ```
 *   fd 3  function channel   host → INVOKE, REHEARSE            CHUNK*, RESULT | FAILURE → host
 *   fd 4  control channel    init → SEAL, LOAD, START, DRAINED  HELLO, LOADED | LOAD_FAILED, SEALED, STARTED, DONE → init
 * ```
 *
 * What a function may rely on is in guest/CONTRACT.md. Node ≥ 20, built-in modules only. Modules, in the order in which
 * they act:
 *
 * ```
 *   threads        prepares this thread and each worker   generators, contexts, clocks; generation
 *   loading        LOAD: imports the handler              style   how it is called: original-style, lambda-style
 *   lifecycle      SEAL and START; hooks                  lambda-*  what only handlers of AWS Lambda need
 *   invocations    INVOKE; idle-events                    failures, output, channel
 * ```
 *
 * Between two invocations the process waits in a blocking read: the event loop stands still, as it does in Lambda, so
 * that an idle VM costs nothing and nothing of the function runs unaccounted. What happened meanwhile comes before the next
 * handler.
 */
import { channelLost, Incoming, makeFrame, send, sendFrame } from './channel.cjs';
import { failureText } from './failures.cjs';
import { renewGenerators } from './generation.cjs';
import { useOpenSsl } from './generators.cjs';
import { openRegistry } from './hooks.cjs';
import { IdleEvents } from './idle-events.cjs';
import { Invocations } from './invocations.cjs';
import { Lifecycle, sendSealed } from './lifecycle.cjs';
import { importFromPlaces } from './module-places.cjs';
import { loadHandler } from './loading.cjs';
import { OriginalStyle } from './original-style.cjs';
import { sendOutputAsFrames, sendOutputToPipes } from './output.cjs';
import {
  CONTROL_FD,
  HELLO,
  LOAD,
  LOAD_FAILED,
  LOADED,
  PROTOCOL_VERSION,
  SEAL,
  type FunctionFailure,
  type LoadRequest,
} from './protocol.cjs';
import type { Stage } from './stage.cjs';
import type { Handler, Style } from './style.cjs';
import { prepareThread } from './threads.cjs';
import { startAgain, takeLoad } from './wrapper.cjs';
import { exit, inNextTurn } from './originals.cjs';

/** The import of the function. */
class Loading implements Stage {
  readonly #style: Style;

  constructor(style: Style) {
    this.#style = style;
  }

  failed(thrown: unknown): never {
    this.#report(this.#style.describeLoadFailure(thrown));
  }

  eventLoopIsEmpty(): void {
    this.#report(this.#style.neverSettles('The import of the handler'));
  }

  uncaught(thrown: unknown): void {
    this.failed(thrown);
  }

  #report(failure: FunctionFailure): never {
    sendFrame(CONTROL_FD, LOAD_FAILED, failureText(failure));
    exit(1);
  }
}

/** Read here, so that boots of other functions do not pay for it. */
function lambdaStyle(): typeof import('./lambda-style.cjs') {
  return require('./lambda-style.cjs') as typeof import('./lambda-style.cjs');
}

function makeStyle(request: LoadRequest, invocations: Invocations): Style {
  if (request.style !== 'lambda') return new OriginalStyle(invocations);
  return new (lambdaStyle().LambdaStyle)(request, invocations);
}

function load(request: LoadRequest, control: Incoming, idleEvents: IdleEvents): void {
  const invocations = new Invocations(request, control, idleEvents);
  if (request.output === 'frames') sendOutputAsFrames(() => invocations.number);
  const style = makeStyle(request, invocations);
  style.setEnvironment(request);
  startAgain(request);
  importFromPlaces(request.root);
  const loading = new Loading(style);
  let stage: Stage = loading;
  process.on('beforeExit', () => {
    stage.eventLoopIsEmpty();
  });
  process.on('uncaughtException', (error, origin) => {
    stage.uncaught(error, origin === 'unhandledRejection');
  });
  process.on('exit', () => {
    invocations.exiting();
  });
  const { rejection } = style;
  if (rejection !== null) process.on('unhandledRejection', (reason) => stage.uncaught(rejection(reason), true));
  const loaded = (handler: Handler): void => {
    invocations.serve(style, handler);
    sendFrame(CONTROL_FD, LOADED, '');
    new Lifecycle(control, invocations, style, (next) => (stage = next)).begin();
  };
  loadHandler(request, style).then(
    // In the next turn: what the import rejected and nobody handles is known then, and is a failure of the import.
    (handler) => inNextTurn(loaded, handler),
    (error: unknown) => loading.failed(error),
  );
}

function main(): void {
  const idleEvents = new IdleEvents();
  prepareThread(() => {
    idleEvents.noteHolder();
  });
  openRegistry();
  sendOutputToPipes();
  const control = new Incoming(CONTROL_FD);
  load(takeLoad() ?? receiveLoad(control), control, idleEvents);
}

function receiveLoad(control: Incoming): LoadRequest {
  const hello = JSON.stringify({ protocol: PROTOCOL_VERSION, runtime: 'nodejs', version: process.versions.node });
  send(CONTROL_FD, makeFrame(HELLO, hello, Buffer.alloc(0)));
  control.next();
  // Before the base layer: what this process has drawn so far every function would have in common.
  for (; control.type === SEAL; control.next()) {
    // A base layer is made once, and each deployment begins with it.
    lambdaStyle();
    useOpenSsl();
    sendSealed();
  }
  if (control.type !== LOAD) channelLost(`expected LOAD, got a frame of type ${control.type}`);
  renewGenerators();
  return JSON.parse(control.payload()) as LoadRequest;
}

main();
