/** Runs in snapctr. A file with secrets cannot be used; the message says what to do, and nothing of what is in it. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';
}
