/**
 * Runs in the builder and in `npm start`. A function's `requirements.txt`, as far as it names packages: what would have pip read
 * other files, ask other servers or build from sources is refused. pip never sees the file itself, which could name
 * variables of the environment (`${…}`), only the lines that are given back here.
 */
import { readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { decodeText } from './text.ts';
import { TreeError } from './tree.ts';

export const REQUIREMENTS_FILE = 'requirements.txt';
/** Files that `-r` and `-c` may name, all together. */
const MAX_FILES = 32;

export interface Requirements {
  /** Lines for pip: a requirement each, with its hashes. */
  readonly requirements: readonly string[];
  /** The same of files named by `-c`. */
  readonly constraints: readonly string[];
  /** Names of the packages in `requirements`, normalized as PEP 503 has it. */
  readonly names: readonly string[];
  /** Whether prereleases may be taken (`--pre`), and whether each file must have a known hash (`--require-hashes`). */
  readonly flags: readonly string[];
}

const NAME = '[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?';
const CLAUSE = '(?:===|==|~=|!=|<=|>=|<|>)\\s*[A-Za-z0-9.*+!_-]+';
/** Names, comparisons, brackets and quoted text. No blank before a dash: pip would take what follows for an option. */
const MARKER = `(?:(?!\\s-)[\\sA-Za-z_.<>=!~()]|"(?:(?!\\s-)[^"$])*"|'(?:(?!\\s-)[^'$])*')+`;
const CLAUSES = `${CLAUSE}(?:\\s*,\\s*${CLAUSE})*\\s*,?`;
/** `name[extra] >= 1, < 2 ; python_version < "3.12"`. Source: PEP 508. */
const REQUIREMENT = new RegExp(
  `^(${NAME})\\s*(?:\\[[A-Za-z0-9._,\\s-]*\\])?\\s*(?:${CLAUSES}|\\(\\s*${CLAUSES}\\s*\\))?\\s*(?:;${MARKER})?$`,
);
const HASH = /\s--hash(?:\s*=\s*|\s+)(sha(?:256|384|512):[0-9a-fA-F]+)(?=\s|$)/g;
const FLAGS: ReadonlySet<string> = new Set(['--pre', '--require-hashes']);
/** Has no effect where only wheels are taken. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set(['--prefer-binary', '--only-binary=:all:', '--only-binary :all:']);
/** Where pip, or Python's `splitlines`, sees the end of a line, or that it goes on: what follows could be an option. */
const ENDS_LINE = /[\p{Cc}\u2028\u2029]|\\$/u;
/** What pip would take for a file. */
const ARCHIVE = /\.(whl|zip|tar|tgz|tbz|txz|tar\.\w+)$/i;

/**
 * Reads `requirements.txt` in `directory`, and the files below it that it names.
 * @param read what reads a file.
 * @throws TreeError with file and line of what is refused, and what to write instead.
 */
export async function readRequirements(
  directory: string,
  read: (path: string) => Promise<Buffer> = readFile,
): Promise<Requirements> {
  const found = { read, requirements: [], constraints: [], names: [], flags: [] };
  await readInto(found, directory, REQUIREMENTS_FILE, 'requirements', new Set());
  const { requirements, constraints, names, flags } = found;
  return { requirements, constraints, names, flags };
}

interface Found {
  readonly read: (path: string) => Promise<Buffer>;
  readonly requirements: string[];
  readonly constraints: string[];
  readonly names: string[];
  readonly flags: string[];
}

async function readInto(
  found: Found,
  directory: string,
  file: string,
  kind: 'requirements' | 'constraints',
  seen: Set<string>,
): Promise<void> {
  if (seen.has(`${kind} ${file}`)) return;
  seen.add(`${kind} ${file}`);
  if (seen.size > MAX_FILES)
    throw new TreeError(`${join(directory, file)}: more than ${MAX_FILES} files name each other`);
  const text = await found.read(join(directory, file)).catch((cause: unknown) => {
    throw new TreeError(`${join(directory, file)}, which ${REQUIREMENTS_FILE} names, cannot be read`, { cause });
  });
  for (const { line, number } of logicalLines(decodeText(text))) {
    const refuse = (why: string): never => {
      throw new TreeError(`${join(directory, file)}:${number}: "${line}" ${why}`);
    };
    if (ENDS_LINE.test(line.replaceAll('\t', ' ')))
      refuse('holds a character that ends or continues a line for pip; remove it');
    const [, option, path] = /^(-r|-c|--requirement|--constraint)(?:\s*=\s*|\s*)(.+)$/.exec(line) ?? [];
    if (option !== undefined && path !== undefined) {
      const other = normalize(join(dirname(file), path));
      if (/^[/~]|[$]|^\w+:/.test(path) || /^\.\.(\/|$)/.test(other)) {
        refuse("names a file outside of the function's directory; copy it there");
      }
      await readInto(found, directory, other, /^(-c|--c)/.test(option) ? 'constraints' : kind, seen);
    } else if (FLAGS.has(line)) found.flags.push(line);
    else if (!WITHOUT_EFFECT.has(line)) {
      if (line.startsWith('-')) refuse(whyRefused(line));
      const requirement = line.replace(HASH, '').trim();
      // Of many blanks in a row the expression would try all ways to share them out.
      const name = REQUIREMENT.exec(requirement.replace(/\s+/g, ' '))?.[1];
      if (name === undefined || ARCHIVE.test(name)) return refuse(whyRefused(requirement));
      const hashes = [...line.matchAll(HASH)].map(([, hash]) => ` --hash=${hash ?? ''}`);
      found[kind].push(requirement + hashes.join(''));
      if (kind === 'requirements') found.names.push(normalizeName(name));
    }
  }
}

/** Lines end in `\` to be continued; `#` begins a comment at the beginning of a line or after a blank. */
function logicalLines(text: string): readonly { readonly line: string; readonly number: number }[] {
  const lines: { line: string; number: number }[] = [];
  let begun: { line: string; number: number } | null = null;
  for (const [index, raw] of text.split('\n').entries()) {
    const isComment = /^\s*#/.test(raw);
    const line: string = (begun?.line ?? '') + (isComment ? '' : raw);
    const number: number = begun?.number ?? index + 1;
    if (line.endsWith('\\') && !isComment) {
      begun = { line: `${line.slice(0, -1)} `, number };
      continue;
    }
    begun = null;
    lines.push({ line, number });
  }
  if (begun !== null) lines.push(begun);
  return lines
    .map(({ line, number }) => ({ line: line.replace(/(^|\s)#.*$/, '').trim(), number }))
    .filter(({ line }) => line !== '');
}

function whyRefused(text: string): string {
  if (/^(-e|--editable)/.test(text) || /\b(git|hg|svn|bzr)\+/.test(text)) {
    return 'is built from its sources, which is not done here; name a version that is published as a wheel';
  }
  if (/^(-i|-f|--(extra-)?index-url|--no-index|--find-links|--trusted-host)/.test(text)) {
    return 'names another index; whoever runs SnapFaaS configures pip (pip.conf, PIP_INDEX_URL)';
  }
  if (/^(--no-binary|--config-settings|--global-option|--install-option)/.test(text)) {
    return 'is for building from sources, which is not done here: only wheels are taken';
  }
  if (text.includes('$')) return 'names a variable; write its value';
  if (text.includes(';') && REQUIREMENT.test(text.replace(/;.*$/, '').trim())) {
    return 'has a condition behind ";" that is none, such as python_version < "3.12"';
  }
  if (/@|:\/\//.test(text)) return 'names an address; name a version that is published as a wheel, such as "name==1.0"';
  if (text.startsWith('-'))
    return `is an option that is not known here; known: -r, -c, --hash, ${[...FLAGS].join(', ')}`;
  if (/^[./~\\]|[/\\]/.test(text) || ARCHIVE.test(text)) {
    return 'names a file; unpack it into the directory package/ instead';
  }
  return 'is no requirement, such as "name>=1.0"';
}

/** As the index compares names. Source: PEP 503. */
export function normalizeName(name: string): string {
  return name.replace(/[-_.]+/g, '-').toLowerCase();
}
