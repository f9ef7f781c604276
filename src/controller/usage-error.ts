/** Runs in snapctr. What can go wrong before anything runs, in words for the user. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
