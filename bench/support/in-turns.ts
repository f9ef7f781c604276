/** Ways of doing the same, measured in one run. */

/** Requests of one kind in a row. */
const BLOCK = 50;

/** Blocks of requests of one kind after the other: each finds caches and a processor that are as warm. */
export async function inTurns(count: number, ways: readonly (() => Promise<number>)[]): Promise<readonly number[][]> {
  const samples = ways.map(() => [] as number[]);
  for (let done = 0; done < count; done += BLOCK) {
    for (const [index, way] of ways.entries()) {
      for (let i = 0; i < BLOCK; i += 1) samples[index]?.push(await way());
    }
  }
  return samples;
}
