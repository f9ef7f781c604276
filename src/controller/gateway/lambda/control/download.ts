/** Runs in snapctr. A package, sent as it was received, to whoever has a link to it. */
import { open, type FileHandle } from 'node:fs/promises';
import { codeOf } from '../../../../storage/error-code.ts';
import type { Dialect, PartialOutput } from '../../dialect.ts';
import type { Answer } from '../../http-answer.ts';
import { ApiError, apiErrorAnswer, apiErrorOf } from '../errors.ts';

const PART_BYTES = 64 * 1024;

export class DownloadDialect implements Dialect {
  readonly maxBodyBytes = 0;
  readonly outlivesClient = false;
  readonly #path: string;

  /** @param path of the file. */
  constructor(path: string) {
    this.#path = path;
  }

  headerProblem(): null {
    return null;
  }

  tooLarge(): ApiError {
    return new ApiError('RequestEntityTooLargeException', 'a download has no body');
  }

  async begin(_body: Buffer, id: string, output: PartialOutput): Promise<Answer> {
    const file = await open(this.#path, 'r').catch((error: unknown) => {
      if (codeOf(error) !== 'ENOENT') throw error;
      throw new ApiError('ResourceNotFoundException', 'The package is not there any more.');
    });
    try {
      const { size } = await file.stat();
      const length = ['content-type', 'application/zip', 'content-length', String(size), 'x-amzn-requestid', id];
      await send(file, size, length, output);
      return { status: 200, headers: length, body: Buffer.alloc(0) };
    } finally {
      await file.close();
    }
  }

  answer(): never {
    throw new Error('bug: nothing was run');
  }

  refusal(error: unknown, id: string): Answer {
    return apiErrorAnswer(apiErrorOf(error), id);
  }
}

/** Asked anew: it may have changed. */
function isGone(output: PartialOutput): boolean {
  return output.isGone;
}

async function send(file: FileHandle, size: number, headers: string[], output: PartialOutput): Promise<void> {
  for (let at = 0; at < size && !output.isGone;) {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.allocUnsafe(PART_BYTES), position: at });
    if (bytesRead === 0) throw new Error('bug: a package has become shorter');
    at += bytesRead;
    const drained = new Promise<void>((resolve) => (output.onDrain = resolve));
    const hasRoom = output.write(headers, buffer.subarray(0, bytesRead));
    if (!hasRoom && !isGone(output)) await drained;
  }
}
