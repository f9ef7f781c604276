/** Runs in snapctr. Which messages of a batch failed, as the function's answer has it: by the rules of AWS for SQS. */
import { z } from 'zod';

const answerSchema = z.object({
  batchItemFailures: z.array(z.object({ itemIdentifier: z.string().min(1) })).nullish(),
});

/**
 * An answer without `batchItemFailures`, or with an empty list, is that all are done. One that is no such answer, or names a message that
 * is not in the batch, says nothing of which are done: all of them failed.
 *
 * @param ids of the batch.
 */
export function failedItems(result: Buffer, ids: readonly string[]): ReadonlySet<string> {
  let value: unknown;
  try {
    value = result.length === 0 ? null : JSON.parse(result.toString('utf8'));
  } catch {
    return new Set(ids);
  }
  if (value === null) return new Set();
  const answer = answerSchema.safeParse(value).data;
  if (answer === undefined) return new Set(ids);
  const failed = new Set((answer.batchItemFailures ?? []).map(({ itemIdentifier }) => itemIdentifier));
  const all = new Set(ids);
  for (const id of failed) if (!all.has(id)) return all;
  return failed;
}
