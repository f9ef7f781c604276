/** Runs in firerunner. Turns the LOG frames of a guest into text, without cutting characters at frame borders. */
import { StringDecoder } from 'node:string_decoder';
import { countIn, type Frame } from '../../protocol/frame.ts';
import { FrameType, type LogHeader } from '../../protocol/guest.ts';

type Stream = LogHeader['stream'];

export class LogDecoder {
  readonly #emit: (header: LogHeader, text: string) => void;
  readonly #decoders: Readonly<Record<Stream, StringDecoder>> = {
    stdout: new StringDecoder('utf8'),
    stderr: new StringDecoder('utf8'),
  };

  constructor(emit: (header: LogHeader, text: string) => void) {
    this.#emit = emit;
  }

  /** @throws FrameError if the frame does not say of which invocation it is. */
  push(frame: Frame): void {
    const request = countIn(frame.header, 'request');
    if (frame.type === FrameType.logEnd) {
      for (const stream of ['stdout', 'stderr'] as const) this.#send(request, stream, this.#decoders[stream].end());
    } else {
      const stream = frame.header['stream'] === 'stderr' ? 'stderr' : 'stdout';
      this.#send(request, stream, this.#decoders[stream].write(frame.payload));
    }
  }

  #send(request: number, stream: Stream, text: string): void {
    if (text !== '') this.#emit({ request, stream }, text);
  }
}
