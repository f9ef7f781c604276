/** Runs in snapctr. What makes a VM that was launched ahead ready for its first request: the runtime's own handler runs. */
import type { FunctionChannel } from '../../protocol/function-channel.ts';

const TIMES = 3;
/** How long all of them may take, in ms. */
const LIMIT_MS = 10_000;
const EVENT = Buffer.from('{"name":"rehearsal","values":[1,2.5,null,true]}');

/** @throws Error: the VM did not answer in time, or its channel broke. */
export async function rehearse(channel: FunctionChannel, limitMs = LIMIT_MS): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`it did not rehearse within ${limitMs / 1000} s`)), limitMs);
  });
  await Promise.race([rehearseAll(channel, limitMs), late]).finally(() => clearTimeout(timer));
}

async function rehearseAll(channel: FunctionChannel, limitMs: number): Promise<void> {
  for (let i = 0; i < TIMES; i += 1) {
    const header = { id: 'rehearsal', deadline_ms: Date.now() + limitMs };
    await channel.rehearse(header, EVENT).catch((cause: unknown) => {
      throw new Error('its channel broke before the first request', { cause });
    });
  }
}
