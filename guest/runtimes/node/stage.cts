/** What the process is at, for all that comes from outside of any call of ours. */
export interface Stage {
  /** Nothing is left that could settle what is waited for. */
  eventLoopIsEmpty(): void;
  /** An error or a rejection that nobody caught. */
  uncaught(thrown: unknown, isRejection: boolean): void;
}
