/** Runs in snapctr and in the builder. What can be wrong with a function package; each message says what to change. */

export type PackageErrorCode =
  /** It is no zip archive, or not a whole one. */
  | 'not_a_zip'
  /** Its parts contradict each other, or its contents are not what was put in. */
  | 'damaged'
  | 'empty'
  | 'encrypted'
  | 'unsupported_compression'
  | 'too_large'
  /** All packages together have as many bytes as they may. */
  | 'store_full'
  | 'too_many_entries'
  /** A name leads out of the package, or cannot be a file's. */
  | 'bad_name'
  /** Two entries want the same place. */
  | 'conflict'
  | 'bad_link'
  /** Neither a file, a directory nor a symbolic link. */
  | 'special_file'
  | 'handler_missing';

export class PackageError extends Error {
  override readonly name = 'PackageError';
  readonly code: PackageErrorCode;

  constructor(code: PackageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
