/** What both programs do with their command line. */
import { readFileSync } from 'node:fs';
import { InvalidArgumentError, type Command } from 'commander';
import { KEYS_VARIABLE } from '../auth/key-place.ts';
import { nearest } from '../yaml/spelling.ts';
import { parseOrigin } from '../controller/gateway/origin-policy.ts';

export const KEYS_HELP = `file of the keys that callers need (default: $${KEYS_VARIABLE}, else keys.json beside --config)`;
export const AUDIT_HELP = 'file to which a line is added for each change of keys (default: the log)';

/** The original's flags have underscores; both spellings work for every flag. */
export function acceptBothSpellings(program: Command, argv: readonly string[]): string[] {
  const known = new Map<string, string>();
  for (const command of [program, ...program.commands]) {
    for (const option of command.options) {
      if (option.long !== undefined) known.set(option.long.replaceAll('_', '-'), option.long);
    }
  }
  return argv.map((word) => {
    const [, flag, value] = /^(--[^=]+)(=.*)?$/s.exec(word) ?? [];
    const spelling = flag === undefined ? undefined : known.get(flag.replaceAll('_', '-'));
    return spelling === undefined ? word : spelling + (value ?? '');
  });
}

/** A parser for options that take a whole number of at least `min`. */
export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw new InvalidArgumentError(`Expected a whole number ${range}.`);
  };
}

/** A parser for names, which an unset variable of a shell would make empty. */
export function notEmpty(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('Expected a name; it is empty.');
}

/** A parser for the name of an alias. */
export function aliasName(text: string): string {
  if (/^(?!\d+$)[a-zA-Z0-9-_]{1,128}$/.test(text)) return text;
  throw new InvalidArgumentError('Expected up to 128 letters, digits, "-" or "_", and not digits alone.');
}

/** A parser for options in seconds, fractions allowed. */
export function seconds(text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text)) return value;
  throw new InvalidArgumentError('Expected seconds, such as 30 or 0.5.');
}

/** A parser for an option that may be given several times, each with an origin of web pages. */
export function origins(text: string, before: readonly string[]): readonly string[] {
  const origin = parseOrigin(text);
  if (origin !== null) return [...before, origin];
  throw new InvalidArgumentError('Expected an origin without a path, such as http://localhost:3000, or * for all.');
}

export function packageVersion(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

/**
 * A message of commander with what it leaves out: it takes a misspelt command for an argument of the program's own, of
 * arguments that are too many it says only how many, and never what the command takes.
 *
 * @param program whose `args` are those that the message is about.
 */
export function tellingUsage(program: Command, names: readonly string[], text: string): string {
  const path = [program];
  let rest = program.args;
  for (let [word] = rest; word !== undefined; [word] = rest) {
    const next = path.at(-1)?.commands.find((one) => one.name() === word);
    if (next === undefined) break;
    path.push(next);
    rest = rest.slice(1);
  }
  const command = path.at(-1) ?? program;
  const isSurplus = text.startsWith('error: too many arguments');
  if (command !== program) {
    const called = path.map((one) => one.name()).join(' ');
    const most = command.registeredArguments.length;
    const surplus = command.args.slice(most).map((word) => `'${word}'`);
    const problem = isSurplus ? `error: ${called} does not take ${surplus.join(' ')}\n` : text;
    return `${problem}usage: ${called} ${command.usage()}\n`;
  }
  const [word] = rest;
  if (word === undefined || !isSurplus) return text;
  const guess = nearest(word, names);
  const help = guess === null ? `there are ${names.join(', ')}` : `did you mean ${guess}?`;
  return `error: unknown command '${word}'; ${help}\n`;
}
