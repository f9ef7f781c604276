/** Output of the function, and lines that are logged in its name. */
import stream = require('node:stream');
import { makeFrame, send, writeFully } from './channel.cjs';
import { CONTROL_FD, LOG } from './protocol.cjs';
import { openSync, toJson } from './originals.cjs';

/** Output is sent in pieces of this size where it goes as frames. */
const LOG_BYTES = 60_000;

type WriteOutput = (fd: 1 | 2, chunk: Buffer) => void;

/** A way to stdout past the function's streams, and past its descriptor 1 where the system lets it be opened anew. */
let writeOwn: (chunk: Buffer) => void = () => undefined;

/**
 * Writes lines that the runtime logs for the function. They do not go through `process.stdout`, which the function may end,
 * replace or have captured.
 */
export function writeLog(text: string): void {
  writeOwn(Buffer.from(text));
}

/** Output goes to the descriptors. A function may close its own: the error is dropped. */
export function sendOutputToPipes(): void {
  makeOutputSynchronous((fd, chunk) => void writeFully(fd, chunk));
  const own = openAnew(1);
  writeOwn = (chunk) => void writeFully(own, chunk);
}

/** Node has no `dup`. What is open as a socket, or belongs to another user, cannot be opened by its name. */
function openAnew(fd: number): number {
  try {
    return openSync(`/proc/self/fd/${fd}`, 'w');
  } catch {
    return fd;
  }
}

/** What a stream has besides its published members. */
interface Undestroyable {
  _undestroy(): void;
}

/**
 * Replaces process.stdout and process.stderr by streams that have written when `write` returns, whatever the descriptor
 * is. Node's own may queue, and what is queued when the event loop stops would appear in a later invocation's log. Like
 * Node's own they can be written to again after they were ended or destroyed.
 */
function makeOutputSynchronous(writeOutput: WriteOutput): void {
  for (const [name, fd] of [
    ['stdout', 1],
    ['stderr', 2],
  ] as const) {
    const output = new stream.Writable({
      write(chunk: Buffer, _encoding, callback) {
        writeOutput(fd, chunk);
        callback();
      },
      destroy(error, callback) {
        callback(error);
        (output as unknown as Undestroyable)._undestroy();
      },
    });
    Object.defineProperty(output, 'fd', { value: fd });
    Object.defineProperty(process, name, { value: output, configurable: true, enumerable: true });
  }
}

let silent: Console | undefined;

/** All of `console.log` but what it prints, so that a snapshot holds it warm: most functions log something. */
export function rehearsePrinting(): void {
  const sink = (_chunk: unknown, _encoding: unknown, done: () => void): void => {
    done();
  };
  silent ??= new console.Console(new stream.Writable({ write: sink }));
  silent.log('%s', 'rehearsal', { of: ['a', 1, true, null] });
  process.stdout.write('');
}

/** @param invocation the number of the invocation under way, which each frame names. */
export function sendOutputAsFrames(invocation: () => number): void {
  const writeOutput: WriteOutput = (fd, chunk) => {
    const header = toJson({ request: invocation(), stream: fd === 1 ? 'stdout' : 'stderr' });
    for (let at = 0; at < chunk.length; at += LOG_BYTES) {
      send(CONTROL_FD, makeFrame(LOG, header, chunk.subarray(at, at + LOG_BYTES)));
    }
  };
  makeOutputSynchronous(writeOutput);
  writeOwn = (chunk) => {
    writeOutput(1, chunk);
  };
}
