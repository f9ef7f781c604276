/** What all of the peers run: an echo in each language, and three functions as people write them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { PROJECT_ROOT } from '../../test/support/snapctr.ts';

export interface Workload {
  readonly name: string;
  readonly language: 'python3' | 'nodejs';
  /** Of the module `measured`, which has a function `handle` that takes the event. */
  readonly source: string;
  /** Packages of PyPI or npm, with their versions. */
  readonly dependencies: Readonly<Record<string, string>>;
  readonly event: object;
  isRight(answer: unknown): boolean;
}

const ECHO = { text: 'hello', numbers: [1, 2, 3] };
const isEcho = (answer: unknown): boolean => isDeepStrictEqual(answer, ECHO);

const example = (path: string): string => readFileSync(join(PROJECT_ROOT, 'examples', path), 'utf8');
const payloadOf = (path: string): object => (JSON.parse(example(path)) as { payload: object }).payload;
const has = (answer: unknown, key: string, value: unknown): boolean =>
  (answer as Record<string, unknown> | null)?.[key] === value;

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'echo-python3',
    language: 'python3',
    source: 'def handle(event):\n    return event\n',
    dependencies: {},
    event: ECHO,
    isRight: isEcho,
  },
  {
    name: 'echo-nodejs',
    language: 'nodejs',
    source: 'exports.handle = async (event) => event;\n',
    dependencies: {},
    event: ECHO,
    isRight: isEcho,
  },
  {
    name: 'thumbnail',
    language: 'python3',
    source: example('thumbnail/workload.py'),
    dependencies: { pillow: '12.3.0' },
    event: payloadOf('thumbnail/request.json'),
    isRight: (answer) => has(answer, 'format', 'PNG'),
  },
  {
    name: 'markdown',
    language: 'nodejs',
    source: example('markdown/workload.js'),
    dependencies: { marked: '15.0.12' },
    event: payloadOf('markdown/request.json'),
    isRight: (answer) => JSON.stringify(answer).includes('<h1>'),
  },
  {
    name: 'json-api',
    language: 'nodejs',
    source: `${example('lambda-api/index.js')}\nexports.handle = (event) => exports.handler(event, { awsRequestId: 'measured' });\n`,
    dependencies: {},
    event: JSON.parse(example('lambda-api/event.json')) as object,
    isRight: (answer) => has(answer, 'statusCode', 200),
  },
];
