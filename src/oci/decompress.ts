/** Runs in the builder. What a layer is packed with is told by its first bytes: gzip, zstd, or nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { messageOf } from '../protocol/errors.ts';
import { ImageError } from './image-error.ts';

const GZIP = Buffer.from([0x1f, 0x8b]);
const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);

/** @param what the layer in errors. @throws ImageError if it is damaged; what the source throws. */
export async function* decompressed(source: AsyncIterable<Buffer>, what: string): AsyncGenerator<Buffer> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    const held: Buffer[] = [];
    let start = Buffer.alloc(0);
    while (start.length < ZSTD.length) {
      const next = await iterator.next();
      if (next.done === true) break;
      held.push(next.value);
      start = Buffer.concat(held);
    }
    const whole = withStart(start, iterator);
    if (start.subarray(0, 2).equals(GZIP)) yield* throughStream(whole, createGunzip({ chunkSize: 256 * 1024 }), what);
    else if (start.subarray(0, 4).equals(ZSTD)) yield* throughZstd(whole, what);
    else yield* whole;
  } finally {
    await iterator.return?.();
  }
}

async function* withStart(start: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (start.length > 0) yield start;
  for (let next; (next = await rest.next()).done !== true;) yield next.value;
}

/** An error of the source is told as it is. */
async function* throughStream(
  source: AsyncIterable<Buffer>,
  unpacker: NodeJS.ReadWriteStream & Readable,
  what: string,
): AsyncGenerator<Buffer> {
  let ofSource: unknown = null;
  const watched = async function* (): AsyncGenerator<Buffer> {
    try {
      yield* source;
    } catch (error) {
      ofSource = error;
      throw error;
    }
  };
  const fed = pipeline(watched(), unpacker);
  fed.catch(() => undefined);
  try {
    for await (const piece of unpacker) yield piece as Buffer;
    await fed;
  } catch (error) {
    throw ofSource ?? damaged(what, error);
  } finally {
    unpacker.destroy();
  }
}

/** By Debian's program: Node has no zstd of its own before 22.15. */
async function* throughZstd(source: AsyncIterable<Buffer>, what: string): AsyncGenerator<Buffer> {
  const child = spawn('zstd', ['-dc', '-q', '--memory=256MB'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = once(child, 'close') as Promise<[code: number | null]>;
  ended.catch(() => undefined);
  const fed = pipeline(Readable.from(source), child.stdin);
  fed.catch(() => child.kill('SIGKILL'));
  try {
    for await (const piece of child.stdout) yield piece as Buffer;
    const [code] = await ended;
    if (code !== 0) throw damaged(what, new Error(`zstd ended with status ${code ?? 'none'}`));
    await fed;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new ImageError('unreachable', `${what} is packed with zstd, which is not installed; apt-get install zstd`, {
        cause: error,
      });
    }
    await fed;
    throw error;
  } finally {
    child.kill('SIGKILL');
  }
}

function damaged(what: string, cause: unknown): unknown {
  if (cause instanceof ImageError) return cause;
  return new ImageError(
    'bad_image',
    `${what} cannot be unpacked: ${messageOf(cause)}; build the image again, or push it again`,
    { cause },
  );
}
