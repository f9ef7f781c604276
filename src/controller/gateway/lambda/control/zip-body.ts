/**
 * Runs in snapctr. The body of a request that may bring a zip file: the file goes to the store of packages while it comes, all else
 * stays in memory.
 *
 * ```
 *   pieces of the body ──▶ BlobJsonReader ──▶ JSON without the file
 *                                └──▶ pieces of the file ──▶ PackageStore
 * ```
 */
import { PassThrough } from 'node:stream';
import { PackageError } from '../../../../packages/package-error.ts';
import type { PackageStore, ReceivedPackage } from '../../../../packages/store.ts';
import type { BodySink } from '../../dialect.ts';
import { ApiError } from '../errors.ts';
import { BlobJsonError, BlobJsonReader, type BlobPath } from './blob-json.ts';
import { ZipTail } from './zip-tail.ts';

/** AWS's limits on a zip file that comes with a request, and on all that comes beside it. */
export const MAX_ZIP_BYTES = 52_428_800;
export const MAX_REST_BYTES = 262_143;
/** On the whole body: the file in base64, and the rest. */
export const MAX_BODY_BYTES = 70_167_211;

export interface ReadBody {
  readonly value: unknown;
  /** Null: there was no zip file. Somebody has to keep or discard it. */
  readonly code: ReceivedPackage | null;
}

export class ZipBody implements BodySink {
  readonly #reader: BlobJsonReader;
  readonly #packages: Pick<PackageStore, 'receive'>;
  readonly #file = new PassThrough();
  /** Null: nothing of a file has come. */
  #receiving: Promise<ReceivedPackage> | null = null;
  readonly #tail = new ZipTail();
  /** What was wrong first: nothing is taken after it. */
  #problem: Error | null = null;

  constructor(path: BlobPath, packages: Pick<PackageStore, 'receive'>) {
    this.#reader = new BlobJsonReader(path, MAX_REST_BYTES);
    this.#packages = packages;
    // The store tells what was wrong.
    this.#file.on('error', () => undefined);
  }

  write(piece: Buffer): Promise<void> | null {
    if (this.#problem !== null) return null;
    try {
      let hasRoom = true;
      for (const part of this.#reader.push(piece)) hasRoom = this.#pass(part);
      return hasRoom ? null : this.#room();
    } catch (error) {
      this.#fail(asError(error));
      return null;
    }
  }

  discard(): void {
    this.#fail(new Error('the request is not complete'));
  }

  /** The body has come. @throws ApiError and what the store throws; then nothing is left of it. */
  async end(): Promise<ReadBody> {
    try {
      if (this.#problem !== null) throw this.#problem;
      const { value, hasBlob } = this.#reader.end();
      if (hasBlob) this.#tail.check();
      this.#file.end();
      return { value, code: await this.#receiving };
    } catch (error) {
      this.#fail(asError(error));
      throw asApiError(error);
    }
  }

  #pass(part: Buffer): boolean {
    this.#tail.push(part);
    if (this.#receiving === null) {
      this.#receiving = this.#packages.receive(this.#file);
      this.#receiving.catch((error: unknown) => this.#fail(asError(error)));
    }
    return this.#file.write(part);
  }

  /** Until the file takes more, or will never do so again. */
  #room(): Promise<void> {
    // One that was closed before does not say so again.
    if (this.#file.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        this.#file.removeListener('drain', done);
        this.#file.removeListener('close', done);
        resolve();
      };
      this.#file.on('drain', done);
      this.#file.on('close', done);
    });
  }

  #fail(problem: Error): void {
    this.#problem ??= problem;
    const wasEnded = this.#file.writableEnded;
    this.#file.destroy(new Error('the package is not wanted', { cause: problem }));
    if (wasEnded)
      void this.#receiving?.then(
        (code) => code.discard(),
        () => undefined,
      );
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function asApiError(error: unknown): unknown {
  if (error instanceof BlobJsonError) {
    switch (error.reason) {
      case 'not_json':
        return new ApiError(
          'InvalidRequestContentException',
          `Could not parse request body into json: ${error.message}`,
          {
            cause: error,
          },
        );
      case 'not_base64':
        return new ApiError('SerializationException', error.message, { cause: error });
      case 'too_large':
        return new ApiError('RequestEntityTooLargeException', error.message, { cause: error });
    }
  }
  if (error instanceof PackageError && error.code === 'too_large') {
    const message = `Zipped size must be smaller than ${MAX_ZIP_BYTES} bytes`;
    return new ApiError('RequestEntityTooLargeException', message, { cause: error });
  }
  return error;
}
