/** Runs in each program. Why a container image cannot be had or used; the message says what to change. */

export type ImageErrorCode =
  /** What was given names no image. */
  | 'bad_reference'
  /** The registry, directory or archive has no such image, or not all of it. */
  | 'not_found'
  /** The registry wants to know who asks, or does not let them. */
  | 'denied'
  /** The registry does not answer, or not as registries do. The same may work later. */
  | 'unreachable'
  /** What came is not what its digest says. */
  | 'bad_digest'
  /** It is for other machines than ours. */
  | 'wrong_platform'
  /** Its manifest, configuration or a layer breaks the rules of their formats, or those of safety. */
  | 'bad_image'
  /** It is over one of our limits. */
  | 'too_large';

export class ImageError extends Error {
  override readonly name = 'ImageError';
  readonly code: ImageErrorCode;

  constructor(code: ImageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** Whether the same may work another time. */
  get isRetryable(): boolean {
    return this.code === 'unreachable';
  }
}
