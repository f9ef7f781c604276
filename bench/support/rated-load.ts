/** Functions that only wait, asked for at a rate each, whatever becomes of the requests. */
import type { TestFunction } from '../../test/support/snapctr.ts';
import type { Client } from './client.ts';
import { openLoop } from './open-loop.ts';

export const VM_MIB = 128;

/** It waits instead of computing: VMs are what is short then, and the load takes nothing from them. */
export function waiter(name: string, ms: number): TestFunction {
  return {
    ...{ name, runtime: 'python3', keys: { memory: VM_MIB } },
    files: { 'workload.py': `import time\ndef handle(request):\n    time.sleep(${ms / 1000})\n    return ${ms}\n` },
  };
}

/** What became of the requests of a function; times in ms. */
export interface Answers {
  readonly ok: readonly number[];
  /** 429. */
  readonly refused: readonly number[];
  /** Another status, or no answer. */
  readonly other: readonly number[];
  /** Answers 200 that came in a second, while all was counted: what a queue still holds at the end is not among them. */
  readonly goodput: number;
}

/**
 * @param rates requests a second, by function.
 * @param ms how long requests are sent that count, after those of `settlingMs`.
 */
export async function ratedLoad(
  client: Client,
  rates: Readonly<Record<string, number>>,
  { ms, settlingMs }: { readonly ms: number; readonly settlingMs: number },
): Promise<(name: string) => Answers> {
  const began = performance.now();
  const all = new Map<string, { ok: number[]; refused: number[]; other: number[]; goodput: number }>();
  const each = Object.entries(rates).map(([name, rate]) => {
    const answers = { ok: [] as number[], refused: [] as number[], other: [] as number[], goodput: 0 };
    all.set(name, answers);
    return openLoop(rate, { ms: settlingMs + ms }, async () => {
      const counts = performance.now() - began >= settlingMs;
      const asked = performance.now();
      const status = await client.invoke(name, null).then(
        (answer) => answer.status,
        () => null,
      );
      const answered = performance.now();
      const tookMs = answered - asked;
      const isInTime = answered - began >= settlingMs && answered - began < settlingMs + ms;
      if (status === 200 && isInTime) answers.goodput += 1000 / ms;
      if (counts) answers[status === 200 ? 'ok' : status === 429 ? 'refused' : 'other'].push(tookMs);
    });
  });
  await Promise.all(each);
  return (name) => all.get(name) ?? { ok: [], refused: [], other: [], goodput: 0 };
}
