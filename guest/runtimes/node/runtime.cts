/**
 * SnapFaaS's Node runtime: loads one function and answers its invocations, one at a time, for as long as the VM lives.
 *
 * Started by init (or by the `process` driver) with two inherited descriptors, both carrying frames:
 *
 * ```
 *   fd 3  function channel   host → INVOKE           RESULT | FAILURE → host
 *   fd 4  control channel    init → LOAD, DRAINED    HELLO, LOADED | LOAD_FAILED, DONE → init
 *
 *   0            4        5              7                7+H               4+N
 *   | N u32 BE   | type   | H u16 BE     | header, JSON   | payload         |
 * ```
 *
 * What a function may rely on is in guest/CONTRACT.md. Node ≥ 20, built-in modules only, one file.
 *
 * Between two invocations the process waits in a blocking read: the event loop stands still, as it does in Lambda, so
 * that an idle VM costs nothing and nothing of the function runs unaccounted. It also is the fastest way to receive: a
 * read through the event loop costs an epoll round and a thread hop more, some hundred microseconds in an emulated guest.
 */
import fs = require('node:fs');
import path = require('node:path');
import stream = require('node:stream');
import url = require('node:url');

const INVOKE = 1;
const RESULT = 2;
const FAILURE = 3;
const HELLO = 16;
const LOAD = 17;
const LOADED = 18;
const LOAD_FAILED = 19;
const DONE = 20;
const DRAINED = 21;
const LOG = 22;

const FUNCTION_FD = 3;
const CONTROL_FD = 4;
const PROTOCOL_VERSION = 1;
const PREFIX_BYTES = 7;
const BUFFER_BYTES = 64 * 1024;
const MAX_FRAME_BYTES = 6 * 1024 * 1024 + 128 * 1024;
/** Output is sent in pieces of this size where it goes as frames. */
const LOG_BYTES = 64 * 1024;
/** init accepts no larger frame from a runtime; failures of the handler keep to it as well. */
const MAX_FAILURE_BYTES = 60_000;

interface LoadRequest {
  readonly function: string;
  readonly root: string;
  readonly handler: string | null;
  readonly environment: Readonly<Record<string, string>>;
  readonly memory_mib: number;
  readonly max_result_bytes: number;
  readonly output: 'pipes' | 'frames';
}

interface FunctionFailure {
  readonly type: string;
  readonly message: string;
  readonly stack: readonly string[];
}

type Callback = (error: unknown, result?: unknown) => void;
type Handler = (event: unknown, context?: Context, callback?: Callback) => unknown;

interface Context {
  readonly awsRequestId: string;
  readonly functionName: string;
  readonly memoryLimitInMB: string;
  getRemainingTimeInMillis(): number;
}

/** The handler cannot be found; `name` is the failure's type. */
class LoadError extends Error {
  constructor(type: string, message: string) {
    super(message);
    this.name = type;
  }
}

// ---- Channels ------------------------------------------------------------------------------------------------------

const sleepCell = new Int32Array(new SharedArrayBuffer(4));
function sleep(milliseconds: number): void {
  Atomics.wait(sleepCell, 0, 0, milliseconds);
}

/** Nobody can be answered any more: leave, so that the host learns it at once. */
function channelLost(reason: unknown): never {
  writeFully(2, Buffer.from(`snapfaas: the runtime lost its channel: ${String(reason)}\n`));
  process.exit(1);
}

function errorCode(error: unknown): unknown {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** Writes everything, waiting where the descriptor is full. Returns the error if it cannot be written at all. */
function writeFully(fd: number, data: Uint8Array, end = data.length): unknown {
  let written = 0;
  while (written < end) {
    try {
      written += fs.writeSync(fd, data, written, end - written);
    } catch (error) {
      if (errorCode(error) !== 'EAGAIN') return error;
      sleep(1);
    }
  }
  return undefined;
}

function send(fd: number, data: Uint8Array, end = data.length): void {
  const error = writeFully(fd, data, end);
  if (error !== undefined) channelLost(error);
}

function prefix(target: Buffer, type: number, headerBytes: number, payloadBytes: number): void {
  target.writeUInt32BE(3 + headerBytes + payloadBytes, 0);
  target[4] = type;
  target.writeUInt16BE(headerBytes, 5);
}

/** Used again for every frame that surely fits. */
const outgoing = Buffer.allocUnsafeSlow(BUFFER_BYTES);
/** UTF-8 takes at most three bytes for one UTF-16 unit. */
const LONGEST_SMALL_TEXT = Math.floor((BUFFER_BYTES - PREFIX_BYTES) / 3);

function sendFrame(fd: number, type: number, payload: string): void {
  if (payload.length <= LONGEST_SMALL_TEXT) {
    const bytes = outgoing.write(payload, PREFIX_BYTES);
    prefix(outgoing, type, 0, bytes);
    send(fd, outgoing, PREFIX_BYTES + bytes);
  } else {
    const bytes = Buffer.byteLength(payload);
    const frame = Buffer.allocUnsafe(PREFIX_BYTES + bytes);
    prefix(frame, type, 0, bytes);
    frame.write(payload, PREFIX_BYTES);
    send(fd, frame);
  }
}

const doneFrame = Buffer.from([0, 0, 0, 3, DONE, 0, 0]);

/** Frames from one descriptor, read blocking, into one buffer that is used again for every frame that fits. */
class Incoming {
  readonly #fd: number;
  readonly #isDevice: boolean;
  readonly #small = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  /** Bytes in `#small` that belong to the next frame. */
  #start = 0;
  #end = 0;

  /** The frame that `next` found: `frame[0, end)`, its payload from `payloadStart`. Valid until `next` is called again. */
  frame = this.#small;
  type = 0;
  frameStart = 0;
  payloadStart = 0;
  frameEnd = 0;

  constructor(fd: number) {
    this.#fd = fd;
    this.#isDevice = fs.fstatSync(fd).isCharacterDevice();
  }

  next(): void {
    const small = this.#small;
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = this.#read(small, 0);
    }
    while (this.#end - this.#start < PREFIX_BYTES) {
      this.#moveToFront();
      this.#end += this.#read(small, this.#end);
    }
    const bytes = 4 + small.readUInt32BE(this.#start);
    const headerEnd = PREFIX_BYTES + small.readUInt16BE(this.#start + 5);
    if (bytes > 4 + MAX_FRAME_BYTES || headerEnd > bytes) {
      channelLost(`a frame of ${bytes - 4} bytes with a header of ${headerEnd - PREFIX_BYTES}`);
    }
    this.type = small.readUInt8(this.#start + 4);
    if (this.#end - this.#start >= bytes) {
      this.frame = small;
      this.frameStart = this.#start;
      this.#start += bytes;
    } else {
      this.#moveToFront();
      this.frame = bytes > BUFFER_BYTES ? Buffer.allocUnsafeSlow(bytes) : small;
      if (this.frame !== small) small.copy(this.frame, 0, 0, this.#end);
      let have = this.#end;
      while (have < bytes) have += this.#read(this.frame, have, bytes);
      this.frameStart = this.#start = this.#end = 0;
    }
    this.payloadStart = this.frameStart + headerEnd;
    this.frameEnd = this.frameStart + bytes;
  }

  header(): string {
    return this.frame.toString('utf8', this.frameStart + PREFIX_BYTES, this.payloadStart);
  }

  /** The payload as text. A frame that needed its own memory gives it back. */
  payload(): string {
    const text = this.frame.toString('utf8', this.payloadStart, this.frameEnd);
    this.frame = this.#small;
    return text;
  }

  #moveToFront(): void {
    if (this.#start === 0) return;
    this.#small.copy(this.#small, 0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }

  #read(target: Buffer, from: number, to = target.length): number {
    for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 8)) {
      try {
        const count = fs.readSync(this.#fd, target, from, to - from, null);
        if (count > 0) return count;
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') channelLost(error);
        sleep(1);
        continue;
      }
      // A virtio port reads as ended while no host is connected to it; a socket's end is the end of our work.
      if (!this.#isDevice) process.exit(0);
      sleep(waitMs);
    }
  }
}

// ---- Output of the function ----------------------------------------------------------------------------------------

/**
 * Replaces process.stdout and process.stderr by streams that have written when `write` returns, whatever the descriptor
 * is. Node's own may queue, and what is queued when the event loop stops would appear in a later invocation's log.
 */
function makeOutputSynchronous(writeOutput: (fd: 1 | 2, chunk: Buffer) => void): void {
  for (const [name, fd] of [
    ['stdout', 1],
    ['stderr', 2],
  ] as const) {
    const output = new stream.Writable({
      write(chunk: Buffer, _encoding, callback) {
        writeOutput(fd, chunk);
        callback();
      },
    });
    Object.defineProperty(output, 'fd', { value: fd });
    Object.defineProperty(process, name, { value: output, configurable: true, enumerable: true });
  }
}

// ---- Loading -------------------------------------------------------------------------------------------------------

function malformed(name: string): LoadError {
  return new LoadError('Runtime.MalformedHandlerName', `Bad handler '${name}': expected file.function`);
}

/** `dir/file.a.b` → file `dir/file`, export `a.b`. */
function splitHandler(name: string | null): { file: string; exportPath: string[] } {
  if (name === null) return { file: 'workload', exportPath: ['handle'] };
  const baseName = path.posix.basename(name);
  const dot = baseName.indexOf('.');
  if (dot <= 0 || name.includes('..') || path.isAbsolute(name)) throw malformed(name);
  const exportPath = baseName.slice(dot + 1).split('.');
  if (exportPath.includes('')) throw malformed(name);
  return { file: path.posix.join(path.posix.dirname(name), baseName.slice(0, dot)), exportPath };
}

async function importModule(file: string): Promise<unknown> {
  const esm = `${file}.mjs`;
  if (!fs.existsSync(`${file}.js`) && fs.existsSync(esm)) return import(url.pathToFileURL(esm).href);
  const target = !fs.existsSync(`${file}.js`) && fs.existsSync(`${file}.cjs`) ? `${file}.cjs` : file;
  try {
    return require(target);
  } catch (error) {
    const code = errorCode(error);
    if (code !== 'ERR_REQUIRE_ESM' && code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return import(url.pathToFileURL(require.resolve(target)).href);
  }
}

function lookUp(container: unknown, keys: readonly string[]): unknown {
  let value = container;
  for (const key of keys) {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

async function loadHandler(request: LoadRequest): Promise<Handler> {
  Object.assign(process.env, request.environment);
  process.chdir(request.root);
  const { file, exportPath } = splitHandler(request.handler);
  const loaded = await importModule(path.join(request.root, file));
  const found = lookUp(loaded, exportPath) ?? lookUp(loaded, ['default', ...exportPath]);
  if (typeof found !== 'function') {
    const name = `${file}.${exportPath.join('.')}`;
    const problem = found === undefined ? 'is undefined or not exported' : 'is not a function';
    throw new LoadError('Runtime.HandlerNotFound', `${name} ${problem}`);
  }
  return found as Handler;
}

// ---- Failures ------------------------------------------------------------------------------------------------------

/** The error's class: its own `name` if it gave itself one, else that of its constructor. */
function typeOfError(error: Error): string {
  const name = String(error.name);
  if (name !== 'Error' && name !== '') return name;
  const constructor: unknown = error.constructor;
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'Error';
}

/** Lines of the stack, innermost first, without those of this file and of Node's inside. */
function stackLines(error: Error): string[] {
  if (typeof error.stack !== 'string') return [];
  return error.stack
    .split('\n')
    .filter((line) => line.startsWith('    at ') && !line.includes(__filename) && !line.includes('node:internal'))
    .map((line) => line.trim());
}

/** Whatever was thrown, as a failure. Its own getters may throw: something is always said. */
function describe(thrown: unknown): FunctionFailure {
  try {
    if (thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]') {
      const error = thrown as Error;
      return { type: typeOfError(error), message: String(error.message), stack: stackLines(error) };
    }
    const text = typeof thrown === 'object' && thrown !== null ? JSON.stringify(thrown) : String(thrown);
    return { type: thrown === null ? 'null' : typeof thrown, message: text, stack: [] };
  } catch {
    return { type: 'Error', message: 'the error could not be described', stack: [] };
  }
}

function describeLoadFailure(thrown: unknown): FunctionFailure {
  const failure = describe(thrown);
  const code = errorCode(thrown);
  if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') {
    return { ...failure, type: 'Runtime.ImportModuleError', message: `Error: ${failure.message}` };
  }
  if (thrown instanceof SyntaxError) {
    // The file, the line and a caret stand before the message.
    const where = String(thrown.stack).split('\n    at ')[0]?.split('\n') ?? [];
    const stack = [...where.slice(0, -1).filter((line) => line !== ''), ...failure.stack];
    return { type: 'Runtime.UserCodeSyntaxError', message: `SyntaxError: ${failure.message}`, stack };
  }
  return failure;
}

/** As JSON, cut where it would be larger than a frame of the control channel may be. */
function failureText(failure: FunctionFailure): string {
  const text = JSON.stringify(failure);
  if (Buffer.byteLength(text) <= MAX_FAILURE_BYTES) return text;
  return JSON.stringify({
    type: failure.type.slice(0, 100),
    message: `${failure.message.slice(0, 2000)} [cut]`,
    stack: failure.stack.slice(0, 20).map((line) => line.slice(0, 100)),
  });
}

// ---- The life of the process ---------------------------------------------------------------------------------------

type State = 'loading' | 'idle' | 'invoked';

class Runtime {
  readonly #request: LoadRequest;
  readonly #control: Incoming;
  readonly #functionChannel = new Incoming(FUNCTION_FD);
  readonly #next = () => {
    this.#receive();
  };
  #handler: Handler = () => undefined;
  #state: State = 'loading';
  /** Counts invocations, so that a promise that settles late is not taken for the current one's. */
  #invocation = 0;
  #drainedDue = false;

  constructor(request: LoadRequest, control: Incoming) {
    this.#request = request;
    this.#control = control;
  }

  load(): void {
    if (this.#request.output === 'frames') makeOutputSynchronous((fd, chunk) => this.#sendOutput(fd, chunk));
    process.on('beforeExit', () => {
      this.#eventLoopIsEmpty();
    });
    process.on('uncaughtException', (error) => {
      this.#uncaught(error);
    });
    loadHandler(this.#request).then(
      (handler) => {
        this.#handler = handler;
        this.#state = 'idle';
        sendFrame(CONTROL_FD, LOADED, '');
        setImmediate(this.#next);
      },
      (error: unknown) => {
        this.#loadFailed(describeLoadFailure(error));
      },
    );
  }

  /** Waits for the next INVOKE and starts the handler. */
  #receive(): void {
    const channel = this.#functionChannel;
    channel.next();
    if (channel.type !== INVOKE) channelLost(`expected INVOKE, got a frame of type ${channel.type}`);
    if (this.#drainedDue) {
      // init has collected what the last invocation printed: this one's output starts clean.
      this.#control.next();
      if (this.#control.type !== DRAINED) channelLost(`expected DRAINED, got a frame of type ${this.#control.type}`);
    }
    const invocation = ++this.#invocation;
    this.#state = 'invoked';
    let event: unknown;
    const isOriginalStyle = this.#request.handler === null;
    const context = isOriginalStyle ? undefined : this.#context(channel.header());
    try {
      event = JSON.parse(channel.payload());
    } catch (error) {
      const message = `Unable to unmarshal input: ${describe(error).message}`;
      this.#answer(FAILURE, failureText({ type: 'Runtime.UnmarshalError', message, stack: [] }));
      return;
    }
    let returned: unknown;
    try {
      returned = context === undefined ? this.#handler(event) : this.#call(event, context);
      if (isThenable(returned)) {
        returned.then(
          (result) => {
            if (this.#isCurrent(invocation)) this.#succeed(result);
          },
          (error: unknown) => {
            if (this.#isCurrent(invocation)) this.#fail(error);
          },
        );
        return;
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#succeed(returned);
  }

  #call(event: unknown, context: Context): unknown {
    if (this.#handler.length < 3) return this.#handler(event, context);
    // Node's older convention: handler(event, context, callback). The first to settle counts.
    return new Promise((resolve, reject) => {
      const callback: Callback = (error, result) => {
        if (error === null || error === undefined) resolve(result);
        else reject(error);
      };
      const returned = this.#handler(event, context, callback);
      if (isThenable(returned)) returned.then(resolve, reject);
    });
  }

  #context(header: string): Context {
    const fields = JSON.parse(header === '' ? '{}' : header) as { id?: string; deadline_ms?: number };
    const deadlineMs = fields.deadline_ms ?? 0;
    return {
      awsRequestId: fields.id ?? '',
      functionName: this.#request.function,
      memoryLimitInMB: String(this.#request.memory_mib),
      getRemainingTimeInMillis: () => Math.max(0, Math.floor(deadlineMs - Date.now())),
    };
  }

  #isCurrent(invocation: number): boolean {
    return this.#state === 'invoked' && this.#invocation === invocation;
  }

  #succeed(result: unknown): void {
    let text: string;
    try {
      text = JSON.stringify(result) ?? 'null';
    } catch (error) {
      const { message, stack } = describe(error);
      const failure = { type: 'Runtime.MarshalError', message: `Unable to marshal response: ${message}`, stack };
      this.#answer(FAILURE, failureText(failure));
      return;
    }
    const limit = this.#request.max_result_bytes;
    if (text.length * 3 > limit) {
      const bytes = Buffer.byteLength(text);
      if (bytes > limit) {
        const message = `The result has ${bytes} bytes; at most ${limit} are allowed.`;
        this.#answer(FAILURE, failureText({ type: 'Function.ResponseSizeTooLarge', message, stack: [] }));
        return;
      }
    }
    this.#answer(RESULT, text);
  }

  #fail(thrown: unknown): void {
    this.#answer(FAILURE, failureText(describe(thrown)));
  }

  #answer(type: number, text: string): void {
    this.#state = 'idle';
    sendFrame(FUNCTION_FD, type, text);
    if (this.#request.output === 'pipes') {
      send(CONTROL_FD, doneFrame);
      this.#drainedDue = true;
    }
    // Not called directly: one turn of the event loop lets ticks and closed handles go that would pile up otherwise.
    setImmediate(this.#next);
  }

  #sendOutput(fd: 1 | 2, chunk: Buffer): void {
    const header = Buffer.from(JSON.stringify({ request: this.#invocation, stream: fd === 1 ? 'stdout' : 'stderr' }));
    for (let at = 0; at < chunk.length; at += LOG_BYTES) {
      const piece = chunk.subarray(at, at + LOG_BYTES);
      const frame = Buffer.allocUnsafe(PREFIX_BYTES);
      prefix(frame, LOG, header.length, piece.length);
      send(CONTROL_FD, Buffer.concat([frame, header, piece]));
    }
  }

  #loadFailed(failure: FunctionFailure): void {
    sendFrame(CONTROL_FD, LOAD_FAILED, failureText(failure));
    process.exit(1);
  }

  /** Nothing is left that could settle the promise which is waited for. */
  #eventLoopIsEmpty(): void {
    const type = 'Runtime.NodeJsExit';
    const why = 'its promise is pending, and the event loop is empty: nothing can settle it any more';
    if (this.#state === 'loading') {
      this.#loadFailed({ type, message: `The import of the handler never ends: ${why}.`, stack: [] });
    } else if (this.#state === 'invoked') {
      this.#answer(FAILURE, failureText({ type, message: `The handler never answers: ${why}.`, stack: [] }));
    }
  }

  /** An error that nobody caught leaves the function in an unknown state: answer, if an answer is due, and end. */
  #uncaught(thrown: unknown): void {
    const failure = describe(thrown);
    if (this.#state === 'loading') this.#loadFailed(describeLoadFailure(thrown));
    if (this.#state === 'invoked') {
      this.#state = 'idle';
      sendFrame(FUNCTION_FD, FAILURE, failureText(failure));
    } else {
      const lines = [`${failure.type}: ${failure.message}`, ...failure.stack, ''];
      writeFully(2, Buffer.from(`snapfaas: uncaught between two invocations: ${lines.join('\n    ')}`));
    }
    process.exit(1);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    value !== null &&
    (typeof value === 'object' || typeof value === 'function') &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}

function main(): void {
  // A function may close its own output: the error is dropped.
  makeOutputSynchronous((fd, chunk) => void writeFully(fd, chunk));
  const hello = JSON.stringify({ protocol: PROTOCOL_VERSION, runtime: 'nodejs', version: process.versions.node });
  const bytes = outgoing.write(hello, PREFIX_BYTES);
  prefix(outgoing, HELLO, bytes, 0);
  send(CONTROL_FD, outgoing, PREFIX_BYTES + bytes);

  const control = new Incoming(CONTROL_FD);
  control.next();
  if (control.type !== LOAD) channelLost(`expected LOAD, got a frame of type ${control.type}`);
  new Runtime(JSON.parse(control.payload()) as LoadRequest, control).load();
}

main();
