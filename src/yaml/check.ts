/** Runs in snapctr, and in the commands that read YAML. A value of a file against a schema, and the words for what does not fit. */
import { z } from 'zod';
import { nearest } from './spelling.ts';
import { MAX_PROBLEMS, type Problem, type YamlFile, type YamlPath } from './yaml-file.ts';

/**
 * Checks the value at `path` of a file. What does not fit is added to `problems`, up to a measure.
 * @param subject what the value is, to begin each message with; empty if the key says it all.
 * @returns the value, or null if it does not fit.
 */
export function check<T>(
  schema: z.ZodType<T>,
  value: unknown,
  source: YamlFile,
  path: YamlPath,
  subject: string,
  problems: Problem[],
): T | null {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, MAX_PROBLEMS);
  for (const issue of issues.filter((one) => !isMeantElsewhere(one, issues, schema))) {
    problems.push(...describe(issue, schema, source, path, subject));
  }
  return null;
}

/** A key is missing because it is misspelt: that is one mistake, and told once. */
function isMeantElsewhere(issue: z.core.$ZodIssue, issues: readonly z.core.$ZodIssue[], schema: z.ZodType): boolean {
  if (issue.code === 'unrecognized_keys') return false;
  const key = issue.path.at(-1);
  const around = JSON.stringify(issue.path.slice(0, -1));
  return issues.some(
    (other) =>
      other.code === 'unrecognized_keys' &&
      JSON.stringify(other.path) === around &&
      other.keys.some((name) => nearest(name, keysAt(schema, stepsOf(other))) === key),
  );
}

function stepsOf({ path }: z.core.$ZodIssue): readonly (string | number)[] {
  return path.map((step) => (typeof step === 'number' ? step : String(step)));
}

/** The keys that a map inside the schema may have. */
function keysAt(schema: z.ZodType, path: readonly (string | number)[]): readonly string[] {
  let inner: unknown = schema;
  for (const step of [...path, null]) {
    while (inner instanceof z.ZodOptional || inner instanceof z.ZodNullable) inner = inner.unwrap();
    if (!(inner instanceof z.ZodObject)) return [];
    const shape = inner.shape as Readonly<Record<string, unknown>>;
    if (step === null) return Object.keys(shape);
    inner = shape[step];
  }
  return [];
}

function describe(
  issue: z.core.$ZodIssue,
  schema: z.ZodType,
  source: YamlFile,
  path: YamlPath,
  subject: string,
): Problem[] {
  const inner = stepsOf(issue);
  const place = [...path, ...inner];
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, inner);
    return issue.keys.slice(0, MAX_PROBLEMS).map((key) => {
      const guess = nearest(key, known);
      const advice = guess === null ? 'remove it' : `did you mean \`${guess}\`?`;
      return source.problemAtKey([...place, key], `${subject}unknown key \`${key}\`; ${advice}`);
    });
  }
  if (issue.code === 'invalid_key') {
    const key = inner.join('.');
    return [source.problemAtKey(place, `${subject}\`${key}\` ${issue.issues[0]?.message ?? 'is no valid key'}`)];
  }
  const key = inner.length === 0 ? '' : `\`${inner.join('.')}\` `;
  return [source.problemAt(place, `${subject}${key}${issue.message}`)];
}
