/** Runs in snapctr. What a function gets when it is due: EventBridge's scheduled event, or the input that the schedule has. */
import { createHash } from 'node:crypto';
import type { LambdaAccount } from '../../protocol/arn.ts';

/** The same for each try, and after a crash: by the schedule and its due time. */
export function scheduledEventId(key: string, due: number): string {
  const hex = createHash('sha256').update(`${key}@${due}`).digest('hex');
  // A UUID of version 8, whose bits mean what its maker says.
  const parts = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `a${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ];
  return parts.join('-');
}

/** @param due in ms since 1970. */
export function scheduledEvent(account: LambdaAccount, name: string, id: string, due: number): Buffer {
  const { region, accountId } = account;
  const event = {
    version: '0',
    id,
    'detail-type': 'Scheduled Event',
    source: 'aws.events',
    account: accountId,
    time: `${new Date(due).toISOString().slice(0, 19)}Z`,
    region,
    resources: [`arn:aws:events:${region}:${accountId}:rule/${name}`],
    detail: {},
  };
  return Buffer.from(JSON.stringify(event));
}
