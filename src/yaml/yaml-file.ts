/** Runs in snapctr, and in the commands that read YAML. YAML files that remember where everything stood, so that a problem can be shown at its place. */
import { isUtf8 } from 'node:buffer';
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type CollectionTag,
  type Document,
  type ScalarTag,
  type YAMLError,
} from 'yaml';
import { messageOf } from '../protocol/errors.ts';
import { NotRegularError, readRegularSync } from '../storage/regular-file.ts';
import { parseDocument } from './parse.ts';

/** A place in a configuration file; lines and columns count from 1. A flag has no line. */
export interface Problem {
  /** File as the user named it, or a flag such as `--mem`. */
  readonly file: string;
  readonly line: number | null;
  readonly column: number | null;
  /** What is wrong and what to change. */
  readonly message: string;
}

/** Keys and indices from the top of a document down to one value. */
export type YamlPath = readonly (string | number)[];

type Tags = readonly (ScalarTag | CollectionTag)[];

/** Of one value: nobody mends more before the next try, and some take as long to describe as the file is large. */
export const MAX_PROBLEMS = 1000;
const MAX_SHOWN = 100;
/** A value may be as long as its file. In characters. */
const MAX_MESSAGE = 1000;
const MAX_QUOTED_KEY = 100;

/** All problems of a configuration at once, one line each; of very many the first ones, and how many there are. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const more = problems.length - MAX_SHOWN;
    const shown = problems.slice(0, MAX_SHOWN).map(formatProblem);
    super([...shown, ...(more > 0 ? [`${more} more problems are not shown`] : [])].join('\n'));
    this.problems = problems;
  }
}

export function formatProblem({ file, line, column, message }: Problem): string {
  return line === null ? `${file}: ${message}` : `${file}:${line}:${column ?? 1}: ${message}`;
}

/** One parsed file. */
export class YamlFile {
  readonly file: string;
  /** The file as plain JavaScript values. */
  readonly value: unknown;
  readonly #document: Document;
  readonly #lines: LineCounter;

  private constructor(file: string, value: unknown, document: Document, lines: LineCounter) {
    this.file = file;
    this.value = value;
    this.#document = document;
    this.#lines = lines;
  }

  /**
   * Reads and parses a file. Problems are added to `problems`.
   * @param path absolute.
   * @param file the same as messages are to show it.
   * @param tags of values that YAML itself does not have.
   * @returns null if the file makes no sense beyond them; duplicate keys alone do not stop it.
   */
  static read(path: string, file: string, problems: Problem[], tags: Tags = []): YamlFile | null {
    const text = readText(path, file, problems);
    if (text === null) return null;
    const lines = new LineCounter();
    const document = parseDocument(text, { lineCounter: lines, stringKeys: true, customTags: [...tags] });
    const told = new Set<string>();
    const textLines = document.errors.length === 0 ? [] : text.split('\n');
    for (const error of document.errors.slice(0, MAX_PROBLEMS)) {
      const problem = syntaxProblem(file, text, textLines, error, lines);
      // One mistake has several consequences; the first on a line is nearest to it.
      if (error.code !== 'DUPLICATE_KEY' && told.has(String(problem.line))) continue;
      told.add(String(problem.line));
      problems.push(problem);
    }
    if (document.errors.some(({ code }) => code !== 'DUPLICATE_KEY')) return null;
    try {
      return new YamlFile(file, document.toJS(), document, lines);
    } catch (error) {
      // Aliases without an anchor, or ones that would expand without measure.
      const reason = messageOf(error);
      problems.push({ file, line: 1, column: 1, message: `not usable YAML: ${reason}` });
      return null;
    }
  }

  /** A problem with the value at `path`; if there is none, with the nearest thing around it. */
  problemAt(path: YamlPath, message: string): Problem {
    return this.#problem(this.#offsetOf(path, 'value'), message);
  }

  /** A problem with the key that ends `path`. */
  problemAtKey(path: YamlPath, message: string): Problem {
    return this.#problem(this.#offsetOf(path, 'key'), message);
  }

  #problem(offset: number, message: string): Problem {
    const { line, col } = this.#lines.linePos(offset);
    const cut = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message;
    return { file: this.file, line: Math.max(line, 1), column: Math.max(col, 1), message: cut };
  }

  #offsetOf(path: YamlPath, part: 'key' | 'value'): number {
    let node: unknown = this.#document.contents;
    let offset = startOf(node) ?? 0;
    for (const [depth, step] of path.entries()) {
      const target = isAlias(node) ? node.resolve(this.#document) : node;
      if (isMap(target)) {
        const pair = target.items.find(({ key }) => isScalar(key) && String(key.value) === String(step));
        if (pair === undefined) return offset;
        const isLast = depth === path.length - 1;
        node = pair.value;
        offset = (isLast && part === 'key' ? startOf(pair.key) : (startOf(pair.value) ?? startOf(pair.key))) ?? offset;
      } else if (isSeq(target)) {
        node = target.items[Number(step)];
        offset = startOf(node) ?? offset;
      } else {
        return offset;
      }
    }
    return offset;
  }
}

function startOf(node: unknown): number | undefined {
  const range = typeof node === 'object' && node !== null && 'range' in node ? node.range : undefined;
  return Array.isArray(range) && typeof range[0] === 'number' ? range[0] : undefined;
}

function readText(path: string, file: string, problems: Problem[]): string | null {
  let bytes: Buffer;
  try {
    bytes = readRegularSync(path);
  } catch (error) {
    problems.push({ file, line: null, column: null, message: `cannot be read: ${readAdvice(error)}` });
    return null;
  }
  if (isUtf8(bytes)) return bytes.toString('utf8');
  problems.push({ file, line: null, column: null, message: 'is not valid UTF-8; save it as UTF-8' });
  return null;
}

function readAdvice(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'there is no such file; correct the path';
  if (code === 'EACCES') return 'this user may not read it; change its rights';
  return error instanceof NotRegularError ? `${error.message}; name a YAML file` : messageOf(error);
}

function syntaxProblem(
  file: string,
  text: string,
  textLines: readonly string[],
  error: YAMLError,
  lines: LineCounter,
): Problem {
  const { line, col } = lines.linePos(error.pos[0]);
  const key = /^[^\s:,[\]{}]+/.exec(text.slice(error.pos[0], error.pos[0] + MAX_QUOTED_KEY))?.[0] ?? '';
  return { file, line, column: col, message: syntaxMessage(key, error, textLines[line - 1] ?? '') };
}

function syntaxMessage(key: string, error: YAMLError, line: string): string {
  if (error.code === 'DUPLICATE_KEY') return `the key \`${key}\` is there twice; remove one of the two`;
  if (/^ *\t/.test(line)) return 'not valid YAML: tabs cannot indent; use spaces';
  return `not valid YAML: ${error.message}`;
}
