/** A gateway with function URLs, and functions that are scripted by the test. */
import { DEFAULT_ACCOUNT } from '../../../../src/protocol/arn.ts';
import type { HttpGatewayOptions } from '../../../../src/controller/gateway/http.ts';
import type { Logger } from '../../../../src/controller/log.ts';
import type { Task } from '../../../../src/controller/task.ts';
import type { FunctionUrl } from '../../../../src/registry/function-registry.ts';
import { functionConfig, functionUrl, registryOf } from '../../../support/scripted-guests.ts';
import { withGateway } from '../http-client.ts';

export const NAMES = ['open', 'signed', 'streaming', 'paged'] as const;
export const CORS = {
  allowCredentials: null,
  allowHeaders: ['x-one', 'content-type'],
  allowMethods: ['GET', 'PUT'],
  allowOrigins: ['https://example.com', 'https://*.example.org'],
  exposeHeaders: ['x-two'],
  maxAgeS: 60,
} as const;

const URLS: readonly FunctionUrl[] = [
  functionUrl('open'),
  functionUrl('signed', { authType: 'AWS_IAM' }),
  functionUrl('streaming', { invokeMode: 'RESPONSE_STREAM' }),
  functionUrl('paged', { cors: CORS }),
];

export interface UrlBench {
  readonly port: number;
  /** Of the log, from warnings on. */
  readonly log: readonly string[];
  /** The host by which a function is reached. */
  readonly hostOf: (name: (typeof NAMES)[number]) => string;
}

export async function withUrls(
  options: Partial<HttpGatewayOptions>,
  use: (bench: UrlBench) => Promise<void>,
  urls: readonly FunctionUrl[] = URLS,
): Promise<void> {
  const functions = registryOf(NAMES.map((name) => functionConfig(name, { runtime: 'nodejs', handler: 'a.b' })));
  for (const url of urls) functions.configure(url.function, { urls: [url] });
  const log: string[] = [];
  const logger = { warn: (facts: object, text: string) => log.push(`${JSON.stringify(facts)} ${text}`) };
  const lambda = {
    ...{ account: DEFAULT_ACCOUNT, functions, plane: null, maxConcurrency: 8, interpreters: 'host' as const },
    ...{
      eventSources: null,
      audit: { add: () => Promise.resolve() },
      usesSnapshots: () => false,
      events: { accept: () => Promise.resolve() },
      logger: logger as unknown as Logger,
    },
  };
  await withGateway({ lambda, ...options }, async (_, port) => {
    const hostOf = (name: string): string => {
      const { id } = urls.find((one) => one.function === name) ?? functionUrl(name);
      return `${id}.lambda-url.us-east-1.localhost:${port}`;
    };
    await use({ port, log, hostOf });
  });
}

/** A function that always answers the same. */
export function answering(value: unknown, contentType: string | null = null): (task: Task) => void {
  const result = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
  return (task) => task.reply({ status: 'ok', result, contentType, start: 'warm' });
}

/** A function that tells its event. */
export function telling(events: unknown[]): (task: Task) => void {
  return (task) => {
    events.push(JSON.parse(task.request.payload.toString()));
    task.reply({ status: 'ok', result: Buffer.from('{}'), start: 'warm' });
  };
}
