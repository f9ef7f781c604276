/**
 * Runs in the fake Firecracker. What `guest/init` does in a VM, for a runtime that is a process of the host: it passes on
 * what brings the function to its first invocation, gathers output by invocation, and reports the runtime's end.
 *
 * It keeps a record of what the host said, with which a restored guest is brought to where it was.
 */
import { encodeFrame, FrameError, FrameReader, type Frame, type FrameHeader } from '../../../src/protocol/frame.ts';
import { FrameType, SYNC_BYTES, type LoadRequest } from '../../../src/protocol/guest.ts';
import { exitHeader, GuestOutput } from './guest-output.ts';
import { encodeNetwork } from '../../../src/protocol/guest-network.ts';
import type { RuntimeProcess } from './runtime-process.ts';
import type { VsockConnection } from './vsock-connection.ts';

const RUNTIME_FRAME_BYTES = 64 * 1024;
const LOAD_FRAME_BYTES = 1024 * 1024;
const STEP_FRAME_BYTES = 1024;
/** Unsent bytes beyond which the runtime's output is not read. */
const ROOM_BYTES = 3 * RUNTIME_FRAME_BYTES;

/** Payloads of what init obeys by itself; here there is no kernel to tell. */
const BYTES_OF_OBEYED: ReadonlyMap<number, number> = new Map([
  [FrameType.sync, SYNC_BYTES],
  [FrameType.network, encodeNetwork(null).length],
]);

/** What is passed on to the runtime, and what each may be answered by. */
const ANSWERS: ReadonlyMap<number, readonly number[]> = new Map([
  [FrameType.load, [FrameType.loaded, FrameType.loadFailed]],
  [FrameType.seal, [FrameType.sealed, FrameType.hookFailed]],
  [FrameType.start, [FrameType.started, FrameType.hookFailed]],
]);

/** What the host made of a guest, in order: LOAD, SEALs and START as they came. */
export interface GuestRecord {
  readonly load: LoadRequest | null;
  readonly steps: readonly { readonly type: number; readonly header: FrameHeader }[];
}

export interface InitSurroundings {
  /** Puts the files of the second disk into a directory, if that has a file system. */
  readonly mountApp: (directory: string) => Promise<void>;
  /** Called with a reason that init cannot go on for, said to the host already; the machine stops. */
  readonly onFatal: (reason: string) => void;
  readonly onRuntimeExited: (exit: FrameHeader) => void;
}

export class GuestInit {
  readonly #runtime: RuntimeProcess;
  readonly #surroundings: InitSurroundings;
  readonly #output: GuestOutput;
  #connection: VsockConnection | null = null;
  /** Whole frames that wait for the host to connect. */
  #unsent: Buffer[] = [];
  /** The host hears nothing: the guest is brought to where a snapshot left it. */
  #isReplaying: boolean;
  readonly #awaited: (readonly number[])[] = [[FrameType.hello]];
  #fromHost: Promise<void> = Promise.resolve();
  #fromRuntime: Promise<void> = Promise.resolve();
  #answered: ((type: number) => void) | null = null;
  /** Invocations whose DRAINED was sent, and one. */
  #begun = 0;
  /** The runtime ended before it had read the last of them. */
  #hasLeftUnread = false;
  #isServing = false;
  #isOver = false;
  #load: LoadRequest | null = null;
  readonly #steps: { readonly type: number; readonly header: FrameHeader }[] = [];

  constructor(runtime: RuntimeProcess, surroundings: InitSurroundings, { isReplaying }: { isReplaying: boolean }) {
    this.#runtime = runtime;
    this.#surroundings = surroundings;
    this.#isReplaying = isReplaying;
    this.#output = new GuestOutput(runtime.stdout, runtime.stderr, (type, header, payload) =>
      this.#send(type, header, payload),
    );
    const reader = new FrameReader(RUNTIME_FRAME_BYTES);
    runtime.requests.on('data', (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) this.#inOrder(() => this.#takeFromRuntime(frame));
      } catch (error) {
        // The function may write here: at worst it ends its own requests.
        if (!(error instanceof FrameError)) throw error;
        runtime.requests.destroy();
      }
    });
    runtime.requests.on('error', (error: NodeJS.ErrnoException) => {
      this.#hasLeftUnread ||= error.code === 'ECONNRESET';
    });
    void runtime.exited.then((exit) =>
      this.#inOrder(async () => {
        await this.#output.endRequest('same');
        this.#isOver = true;
        this.#answered?.(FrameType.runtimeExited);
        surroundings.onRuntimeExited(exitHeader(exit));
        const isUnread = this.#begun > 1 && this.#hasLeftUnread;
        this.#send(FrameType.runtimeExited, { ...exitHeader(exit), begun: this.#begun - Number(isUnread) });
      }),
    );
  }

  /** Null: nothing is under way, a snapshot can hold the guest as it is. Else a reason why not. */
  get unrest(): string | null {
    if (this.#isOver) return 'its runtime has ended';
    if (this.#awaited[0]?.includes(FrameType.hello) === true) return 'its runtime is not up yet';
    return this.#awaited.length > 0 ? 'it has not answered the host yet' : null;
  }

  get record(): GuestRecord {
    return { load: this.#load, steps: [...this.#steps] };
  }

  /** A connection to the control port. A newer one replaces an older one. */
  connect(connection: VsockConnection): void {
    this.#connection?.reset();
    this.#connection = connection;
    const reader = new FrameReader(LOAD_FRAME_BYTES);
    connection.onData = (bytes) => {
      try {
        for (const frame of reader.push(bytes)) {
          this.#fromHost = this.#fromHost
            .then(() => this.obey(frame))
            .catch((error: unknown) => this.#fatal(String(error)));
        }
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        this.#fatal(`the host sent no frame: ${error.message}`);
      }
    };
    connection.onClosed = () => {
      if (this.#connection === connection) this.#connection = null;
    };
    connection.onDrain = () => this.#adjustFlow();
    for (const bytes of this.#unsent.splice(0)) connection.write(bytes);
    connection.release();
    this.#adjustFlow();
  }

  /** Brings a guest that has said HELLO to where the record ends. @throws Error if it does not come there. */
  async replay(record: GuestRecord | null): Promise<void> {
    const failures: number[] = [FrameType.loadFailed, FrameType.hookFailed, FrameType.runtimeExited];
    const answer = async (frame: Frame | null): Promise<void> => {
      const answered = new Promise<number>((resolve) => (this.#answered = resolve));
      if (frame !== null) await this.obey(frame);
      const type = await answered;
      if (failures.includes(type)) throw new Error(`the restored guest failed: frame ${type}`);
    };
    const payload = Buffer.alloc(0);
    await answer(null);
    if (record?.load != null) {
      await answer({ type: FrameType.load, header: {}, payload: Buffer.from(JSON.stringify(record.load)) });
    }
    for (const { type, header } of record?.steps ?? []) await answer({ type, header, payload });
    this.#answered = null;
    this.#isReplaying = false;
  }

  /** Does what a frame of the host says. */
  async obey(frame: Frame): Promise<void> {
    const { type, header, payload } = frame;
    const bytesDue = BYTES_OF_OBEYED.get(type);
    if (bytesDue !== undefined) {
      if (payload.length === bytesDue && Object.keys(header).length === 0) return;
      return this.#fatal(
        `the host sent a frame of type ${type} with ${payload.length} bytes; ${bytesDue} are expected`,
      );
    }
    const answers = ANSWERS.get(type);
    if (answers === undefined) return this.#fatal(`the host sent a frame of unknown type ${type}`);
    if (type === FrameType.load) return this.#obeyLoad(payload, answers);
    const isStarted = this.#steps.some((step) => step.type === FrameType.start);
    if (isStarted || (this.#load === null && type !== FrameType.seal)) {
      return this.#fatal(`the host sent a frame of type ${type} ${isStarted ? 'after START' : 'before LOAD'}`);
    }
    const bytes = encodeFrame(type, header);
    if (bytes.length > STEP_FRAME_BYTES) return this.#fatal(`the host sent a frame of ${bytes.length} bytes`);
    this.#steps.push({ type, header });
    this.#awaited.push(answers);
    this.#runtime.requests.write(bytes);
  }

  async #obeyLoad(payload: Buffer, answers: readonly number[]): Promise<void> {
    if (this.#load !== null) return this.#fatal('the host sent a second LOAD');
    const request = JSON.parse(payload.toString('utf8')) as LoadRequest;
    if (request.output !== 'pipes') {
      return this.#fatal(`the host sent a LOAD with output ${JSON.stringify(request.output)}; a VM has pipes`);
    }
    this.#load = request;
    try {
      await this.#surroundings.mountApp(this.#runtime.root);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return this.#fatal(`the app file system on /dev/vdb cannot be mounted at /srv: ${why}`);
    }
    const inHost = withRoot(request, this.#runtime.root);
    this.#awaited.push(answers);
    this.#runtime.requests.write(encodeFrame(FrameType.load, undefined, Buffer.from(JSON.stringify(inHost))));
  }

  async #takeFromRuntime(frame: Frame): Promise<void> {
    if (this.#awaited[0]?.includes(frame.type) === true) return this.#passAnswer(frame);
    if (frame.type !== FrameType.done || !this.#isServing) return;
    await this.#output.endRequest('next', frame.header['log_end'] === true);
    this.#begun += 1;
    await new Promise<void>((resolve) => {
      this.#runtime.requests.write(encodeFrame(FrameType.drained, undefined), (error) => {
        if (error != null) this.#hasLeftUnread = true;
        resolve();
      });
    });
  }

  async #passAnswer({ type, header, payload }: Frame): Promise<void> {
    if (type === FrameType.hello) {
      this.#send(type, header, payload);
    } else {
      await this.#output.endRequest(type === FrameType.started ? 'next' : 'same');
      this.#isServing = type === FrameType.started;
      if (this.#isServing) this.#begun = 1;
      const isFailure = type === FrameType.loadFailed || type === FrameType.hookFailed;
      this.#send(type, undefined, isFailure ? payload : undefined);
    }
    this.#awaited.shift();
    this.#answered?.(type);
  }

  #inOrder(step: () => Promise<void>): void {
    this.#fromRuntime = this.#fromRuntime.then(step);
  }

  #send(type: number, header: FrameHeader | undefined, payload?: Buffer): void {
    if (this.#isReplaying) return;
    const bytes = encodeFrame(type, header, payload);
    if (this.#connection === null) this.#unsent.push(bytes);
    else this.#connection.write(bytes);
    this.#adjustFlow();
  }

  /** A host that does not read makes the function wait at its next print. */
  #adjustFlow(): void {
    const waiting = this.#connection?.pendingBytes ?? this.#unsent.reduce((sum, bytes) => sum + bytes.length, 0);
    if (waiting > ROOM_BYTES) this.#output.pause();
    else this.#output.resume();
  }

  #fatal(reason: string): void {
    this.#send(FrameType.initFailed, undefined, Buffer.from(reason));
    this.#surroundings.onFatal(reason);
  }
}

/** The same with every path below /srv, or /var/task, which is the same in a VM, moved to another directory. */
function withRoot(request: LoadRequest, root: string): LoadRequest {
  const text = JSON.stringify(request, (_, value: unknown) =>
    typeof value === 'string' ? value.replace(/^\/(?:srv|var\/task)(?=\/|$)/, () => root) : value,
  );
  return JSON.parse(text) as LoadRequest;
}
