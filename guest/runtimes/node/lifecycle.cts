/** From the imported function to its first invocation: what SEAL and START ask for on the control channel. */
import { channelLost, makeFrame, send, sendFrame, type Incoming } from './channel.cjs';
import { finishCompilation } from './compilation.cjs';
import { failureText } from './failures.cjs';
import { renewGenerators, sealGenerators } from './generation.cjs';
import { useOpenSsl } from './generators.cjs';
import { hasAfterRestore, runAfterRestore, runBeforeSnapshot } from './hooks.cjs';
import type { Invocations } from './invocations.cjs';
import {
  CONTROL_FD,
  HOOK_FAILED,
  REHEARSE,
  SEAL,
  SEALED,
  START,
  STARTED,
  type FunctionFailure,
  type SealHeader,
  type StartHeader,
} from './protocol.cjs';
import type { Stage } from './stage.cjs';
import type { HookKind, Style } from './style.cjs';
import { closeSync, exit, inNextTurn, openSync, parseJson, toJson } from './originals.cjs';

const REHEARSALS = 40;
const rehearsal = makeFrame(
  REHEARSE,
  '{"id":"rehearsal","deadline_ms":0,"stream":true}',
  Buffer.from('{"rehearsal":["",1,true,null]}'),
);

/** Which process reseeds itself: a wrapper may have started it. */
export function sendSealed(): void {
  send(CONTROL_FD, makeFrame(SEALED, toJson({ pid: process.pid }), Buffer.alloc(0)));
}

export class Lifecycle implements Stage {
  readonly #control: Incoming;
  readonly #invocations: Invocations;
  readonly #style: Style;
  readonly #enter: (stage: Stage) => void;
  /** The hooks that run while this is the stage. */
  #hooks: HookKind = 'before-snapshot';
  readonly #obeyNext = () => {
    this.#obey();
  };

  /** @param enter told who is to hear of an empty event loop and of errors that nobody caught. */
  constructor(control: Incoming, invocations: Invocations, style: Style, enter: (stage: Stage) => void) {
    this.#control = control;
    this.#invocations = invocations;
    this.#style = style;
    this.#enter = enter;
  }

  begin(): void {
    this.#enter(this.#invocations);
    inNextTurn(this.#obeyNext);
  }

  /** Waits for SEAL or START and does what it says. */
  #obey(): void {
    const channel = this.#control;
    channel.next();
    if (channel.type === START) {
      const { restored } = parseJson(channel.header()) as StartHeader;
      if (restored) {
        this.#startRestored();
      } else {
        this.#style.prepare();
        this.#started();
      }
      return;
    }
    if (channel.type !== SEAL) channelLost(`expected SEAL or START, got a frame of type ${channel.type}`);
    const { step } = parseJson(channel.header()) as SealHeader;
    if (step === 'hooks') {
      this.#sealHooks();
    } else {
      sealGenerators();
      useOpenSsl();
      this.#sealed();
    }
  }

  #enterHooks(hooks: HookKind): void {
    this.#hooks = hooks;
    this.#enter(this);
  }

  #sealHooks(): void {
    this.#enterHooks('before-snapshot');
    runBeforeSnapshot().then(
      () => this.#rehearse(),
      (error: unknown) => this.uncaught(error),
    );
  }

  #rehearse(): void {
    const nowhere = openSync('/dev/null', 'w');
    this.#style.prepare();
    this.#invocations.rehearse(REHEARSALS, nowhere, rehearsal, () => {
      closeSync(nowhere);
      finishCompilation();
      this.#sealed();
    });
  }

  #sealed(): void {
    this.#enter(this.#invocations);
    sendSealed();
    inNextTurn(this.#obeyNext);
  }

  #startRestored(): void {
    renewGenerators();
    this.#style.prepare();
    if (!hasAfterRestore()) {
      sendFrame(CONTROL_FD, STARTED, '');
      // Not in another turn of the event loop: its code would run for the first time here, on the way of the request.
      this.#invocations.receive();
      return;
    }
    this.#enterHooks('after-restore');
    runAfterRestore().then(
      () => this.#started(),
      (error: unknown) => this.uncaught(error),
    );
  }

  #started(): void {
    this.#enter(this.#invocations);
    sendFrame(CONTROL_FD, STARTED, '');
    inNextTurn(() => {
      this.#invocations.receive();
    });
  }

  #hookFailed(failure: FunctionFailure): never {
    sendFrame(CONTROL_FD, HOOK_FAILED, failureText(failure));
    exit(1);
  }

  eventLoopIsEmpty(): void {
    this.#hookFailed(this.#style.hookNeverSettles(this.#hooks));
  }

  uncaught(thrown: unknown): never {
    this.#hookFailed(this.#style.describeHookFailure(thrown, this.#hooks));
  }
}
