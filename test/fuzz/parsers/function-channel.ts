/** What a guest answers on its function channel, over a real socket: slower than all others. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FunctionChannel, FunctionChannelError } from '../../../src/protocol/function-channel.ts';
import { FrameType } from '../../../src/protocol/guest.ts';
import { outcomeOfPromise } from '../properties.ts';
import type { ParserTarget } from '../target.ts';
import { framesText } from './protocol.ts';

const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'snapfaas-fuzz-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const socketPath = join(directory, 'function.sock');

let server: Server | null = null;
/** What the guest of the next connection does. */
let onGuest: (guest: Socket) => void = () => undefined;

async function listen(): Promise<void> {
  if (server !== null) return;
  server = createServer((guest) => onGuest(guest.on('error', () => undefined)));
  await new Promise<void>((resolve) => server?.listen(socketPath, resolve));
  server.unref();
}

export const FUNCTION_CHANNEL: ParserTarget = {
  name: 'function-channel',
  tokens: ['\0\0\0\x03', '{"exiting":true}', '{"content_type":1}', '\x02\0\0', '\x05\0\0', '\x06\0\0'],
  generate: (random) => {
    const { result, failure, chunk, ending } = FrameType;
    return framesText(random, [result, result, failure, chunk, ending, FrameType.invoke]);
  },
  async check(input, { random }) {
    await listen();
    onGuest = (guest) => guest.once('data', () => guest.end(input));
    const channel = await FunctionChannel.connect({ socketPath, vsockPort: null });
    let parts = 0;
    const sink = { write: (part: Buffer) => ((parts += part.length), true), onDrain: () => undefined };
    const outcome = await outcomeOfPromise([FunctionChannelError], () =>
      channel.invoke({ id: 'r', deadline_ms: 0 }, Buffer.from('{}'), random.oneIn(2) ? sink : null),
    );
    channel.close();
    assert.ok(parts <= input.length);
    if ('error' in outcome) return;
    const { value } = outcome;
    if (value.ok) assert.ok(value.contentType === null || typeof value.contentType === 'string');
    else assert.deepEqual([typeof value.failure.type, typeof value.isExiting], ['string', 'boolean']);
  },
};
