/** Output of the function. */
import stream = require('node:stream');

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
