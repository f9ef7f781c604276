/**
 * Runs in snapctr. How one kind of HTTP request is read and answered. What is the same for all kinds (bodies in pieces,
 * clients that hang up, one answer for each request) is done by `Exchange`.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Invocation, Outcome } from '../task.ts';
import type { Answer, HeaderList } from './http-answer.ts';

export interface Dialect {
  /** Largest body, in bytes. */
  readonly maxBodyBytes: number;
  /** Takes the body in pieces, so that it may be larger than memory has room for. Absent: `begin` gets it whole. */
  readonly sink?: BodySink | undefined;
  /** Whether what was begun goes on when its client hangs up; its answer is dropped then. */
  readonly outlivesClient: boolean;
  /** Why the request is refused before its body is read; null: it is not. */
  headerProblem(headers: IncomingHttpHeaders): Error | null;
  /** What is said of a body over the limit. @param bytes its size, where that is known. */
  tooLarge(bytes?: number): Error;
  /**
   * The request is complete.
   *
   * @param body empty if there is a `sink`.
   * @param id of the task, should there be one.
   * @param output for parts of an answer that are sent before its outcome is known.
   * @returns what to run, or an answer without running anything, which may take a while.
   * @throws an error that `refusal` has words for.
   */
  begin(body: Buffer, id: string, output: PartialOutput): Invocation | Answer | Promise<Answer>;
  /** The answer to what `begin` returned. If parts of it were sent, its body is the rest and all else is ignored. */
  answer(outcome: Outcome, id: string): Answer;
  /** The answer to a request that was refused, by an error of this dialect or any of ours. `isTask`: it had become one. */
  refusal(error: unknown, id: string, isTask: boolean): Answer;
}

/** What a body goes to piece by piece. It never fails: what is wrong is told by `begin`, once it is known who asks. */
export interface BodySink {
  /** @returns a promise if it is full: it takes the next piece when that is resolved. */
  write(piece: Buffer): Promise<void> | null;
  /** The body will never be complete, or is refused; what was taken of it goes. `begin` is not called any more. */
  discard(): void;
}

/** Parts of an answer on their way to the client. */
export interface PartialOutput {
  /**
   * The first one, which may be empty, begins the answer, with a status of 200 unless another is given.
   * @returns false if the client does not keep up; `onDrain` tells when it has.
   */
  write(headers: HeaderList, part: Buffer, status?: number): boolean;
  onDrain: () => void;
  /** Nobody reads it any more; where nothing runs for it, `onDrain` tells of that as well. */
  readonly isGone: boolean;
}

export function isAnswer(value: Invocation | Answer): value is Answer {
  return 'status' in value;
}
