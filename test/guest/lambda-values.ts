/** The tables of `lambda-results-*.ts` and `lambda-failures-*.ts`, and the functions that are made of them. */
import * as nodeFailures from './lambda-failures-node.ts';
import * as pythonFailures from './lambda-failures-python.ts';
import * as nodeResults from './lambda-results-node.ts';
import * as pythonResults from './lambda-results-python.ts';

/** A failure, and how the process ended. */
export interface ValueOutcome {
  readonly result?: string;
  readonly type?: string;
  readonly message?: string;
  /**
   * Below the value's own lines. The function's files are in `/function`, and lines have no numbers. Not given: what all have,
   * nothing in Python, `type: message` in Node.
   */
  readonly stack?: readonly string[];
  readonly status?: number;
  readonly signal?: string;
}

/** A text is a result. */
export type Expected = string | ValueOutcome;

/** `body`: an expression that the handler returns, or several lines. */
export type Value = readonly [
  what: string,
  body: string,
  expected: Expected,
  more?: {
    /** From Python 3.12 on, whose results are not escaped to ASCII. */
    readonly from312?: Expected;
    /** What is deliberately not as on AWS. */
    readonly onAws?: string;
  },
];

export interface ValueTable {
  readonly title: string;
  readonly language: 'python' | 'node';
  readonly values: readonly Value[];
  readonly files: Readonly<Record<string, string>>;
}

function isStatements(body: string): boolean {
  return body.includes('\n') || body.startsWith('assert ');
}

/** Its handler takes the value's number as its event. */
function pythonFiles(values: readonly Value[]): ValueTable['files'] {
  const cases = values.map(([, body], number) => {
    const lines = (isStatements(body) ? body.trim() : `return ${body}`).split('\n');
    const text = lines.map((line) => `    ${line}\n`).join('');
    return `def case_${number}():\n${text}cases.append(case_${number})\n`;
  });
  const handler = 'def handler(event, context):\n    return cases[event]()\n';
  return { 'app.py': [pythonResults.prelude, pythonFailures.prelude, 'cases = []', ...cases, handler].join('\n') };
}

function nodeFiles(values: readonly Value[], keyword: 'async ' | ''): ValueTable['files'] {
  const cases = values.map(([, body]) => `cases.push(() => {\n${isStatements(body) ? body : `return ${body};`}\n});`);
  const handler = `exports.handler = ${keyword}(event) => cases[event]();\n`;
  return { 'app.js': [nodeResults.prelude, 'const cases = [];', ...cases, handler].join('\n') };
}

const pythonAnswered = [...pythonResults.results, ...pythonFailures.failures];
const nodeAnswered = [...nodeResults.results, ...nodeFailures.failures];

/** Each table's handler answers all its values in one process. */
export const answered: readonly ValueTable[] = [
  { title: 'a Python handler', language: 'python', values: pythonAnswered, files: pythonFiles(pythonAnswered) },
  { title: 'an async Node handler', language: 'node', values: nodeAnswered, files: nodeFiles(nodeAnswered, 'async ') },
  { title: 'a Node handler', language: 'node', values: nodeFailures.sync, files: nodeFiles(nodeFailures.sync, '') },
];

/** Each value's process may have ended after it. */
export const ends: readonly ValueTable[] = [
  {
    title: 'a Python handler',
    language: 'python',
    values: pythonFailures.ends,
    files: pythonFiles(pythonFailures.ends),
  },
  {
    title: 'an async Node handler',
    language: 'node',
    values: nodeFailures.ends,
    files: nodeFiles(nodeFailures.ends, 'async '),
  },
];
