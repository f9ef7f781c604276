/** Output of the function. */
import stream = require('node:stream');
import { makeFrame, send } from './channel.cjs';
import { CONTROL_FD, LOG } from './protocol.cjs';

/** Output is sent in pieces of this size where it goes as frames. */
const LOG_BYTES = 64 * 1024;

/**
 * Replaces process.stdout and process.stderr by streams that have written when `write` returns, whatever the descriptor
 * is. Node's own may queue, and what is queued when the event loop stops would appear in a later invocation's log.
 */
export function makeOutputSynchronous(writeOutput: (fd: 1 | 2, chunk: Buffer) => void): void {
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
  makeOutputSynchronous((fd, chunk) => {
    const header = JSON.stringify({ request: invocation(), stream: fd === 1 ? 'stdout' : 'stderr' });
    for (let at = 0; at < chunk.length; at += LOG_BYTES) {
      send(CONTROL_FD, makeFrame(LOG, header, chunk.subarray(at, at + LOG_BYTES)));
    }
  });
}
