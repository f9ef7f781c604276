/** Runs in the commands of people. What is said of a function: in `function.yaml` beside its code, and by flags, which win. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { MAX_TIMEOUT_S } from '../protocol/guest.ts';
import { WEB_CONCURRENCY_VARIABLE, WEB_PORT_VARIABLE } from '../protocol/web.ts';
import { check } from '../yaml/check.ts';
import { eventsSchema, type EventsYaml } from '../yaml/events-key.ts';
import { urlSchema, type UrlYaml } from '../yaml/url-key.ts';
import { webSchema, type WebYaml } from '../yaml/web-key.ts';
import { expected, quoted, show, text, wholeNumber } from '../yaml/values.ts';
import { formatProblem, YamlFile, type Problem } from '../yaml/yaml-file.ts';
import { badInput } from './client-error.ts';
import type { FunctionConfiguration } from './answers.ts';
import { schedulesSchema, type WrittenSchedules } from './deploy-schedules.ts';
import type { Members } from './lambda-client.ts';

export const SETTINGS_FILE = 'function.yaml';

/** What is not said stays as it is at the controller, or is found by the files, or is AWS's default. */
export interface FunctionSettings {
  readonly name?: string | undefined;
  /** As AWS names it, or only the language: "nodejs" or "python". */
  readonly runtime?: string | undefined;
  readonly handler?: string | undefined;
  /** MB. */
  readonly memory?: number | undefined;
  /** Seconds. */
  readonly timeout?: number | undefined;
  /** All of them: others that the controller has go. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly description?: string | undefined;
  /** ARNs of layer versions, in order. */
  readonly layers?: readonly string[] | undefined;
  /** It is an application that listens on this port; `handler` says how it is started. */
  readonly web?: WebYaml | undefined;
  /** Whether the handler and all it imports become one file. By default TypeScript does. */
  readonly bundle?: boolean | undefined;
  /** How its events are tried, and who is told of their end. */
  readonly events?: EventsYaml | undefined;
  /** Its address over plain HTTP. */
  readonly url?: UrlYaml | undefined;
  /** All of them: others that the controller has go. */
  readonly schedules?: WrittenSchedules | undefined;
}

/** As AWS has them; the controller may have less. */
const MAX_MEMORY_MIB = 32_768;

const LAYER = expected('the ARN of a layer version, such as arn:aws:lambda:us-east-1:000000000000:layer:NAME:1');
const name = expected('1 to 64 letters, digits, `-` or `_`');
export const FUNCTION_NAME = /^[A-Za-z0-9_-]{1,64}$/;

const settingsSchema = z.strictObject(
  {
    name: z.string(name).regex(FUNCTION_NAME, name).optional(),
    runtime: text('a runtime such as `nodejs` or `python3.11`').optional(),
    handler: text('a handler such as `index.handler`').optional(),
    memory: wholeNumber(128, MAX_MEMORY_MIB, `a whole number of MB from 128 to ${MAX_MEMORY_MIB}`).optional(),
    timeout: wholeNumber(1, MAX_TIMEOUT_S, `a whole number of seconds from 1 to ${MAX_TIMEOUT_S}`).optional(),
    environment: z
      .record(
        z.string().regex(/^[A-Za-z][A-Za-z0-9_]*$/, expected('letters, digits and `_`, beginning with a letter')),
        z.string({ error: ({ input }) => `must be a string, not ${show(input)}; quote it: ${quoted(input)}` }),
        expected('a map of names to strings'),
      )
      .optional(),
    description: z.string(expected('a text')).max(256, expected('a text of at most 256 characters')).optional(),
    layers: z
      .array(
        z.string(LAYER).regex(/^arn:[^:]+:lambda:[^:]+:\d{12}:layer:[\w-]+:\d+$/, LAYER),
        expected('a list of ARNs of layer versions'),
      )
      .max(5, expected('a list of at most 5 layers'))
      .optional(),
    web: webSchema.optional(),
    bundle: z.boolean(expected('`true` or `false`')).optional(),
    events: eventsSchema.optional(),
    url: urlSchema.optional(),
    schedules: schedulesSchema.optional(),
  },
  expected('a map of keys such as `name` and `handler`'),
);

/** @throws ClientError with each problem at its place. */
export function readSettings(directory: string): FunctionSettings {
  const path = join(directory, SETTINGS_FILE);
  if (!existsSync(path)) return {};
  const problems: Problem[] = [];
  const source = YamlFile.read(path, path, problems);
  // An empty file says nothing.
  const found = source === null ? null : check(settingsSchema, source.value ?? {}, source, [], '', problems);
  if (found === null || problems.length > 0) return badInput(problems.map(formatProblem).join('\n'));
  const { web } = found;
  if (web === undefined) return found;
  // As everybody says it who calls the API.
  const { port, max_concurrency: most = null } = web;
  const said = {
    [WEB_PORT_VARIABLE]: String(port),
    ...(most === null ? {} : { [WEB_CONCURRENCY_VARIABLE]: String(most) }),
  };
  return { ...found, environment: { ...found.environment, ...said } };
}

/** `more` wins where both say something; names of the environment that only one says are kept. */
export function mergeSettings(settings: FunctionSettings, more: FunctionSettings): FunctionSettings {
  const said = Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined));
  const environment = more.environment && { ...settings.environment, ...more.environment };
  return { ...settings, ...said, ...(environment && { environment }) };
}

/** Members of CreateFunction and UpdateFunctionConfiguration. */
export function membersOf(settings: FunctionSettings): Members {
  const { runtime, handler, memory, timeout, environment, description, layers } = settings;
  return {
    ...(runtime !== undefined && { Runtime: runtime }),
    ...(handler !== undefined && { Handler: handler }),
    ...(description !== undefined && { Description: description }),
    ...(memory !== undefined && { MemorySize: memory }),
    ...(timeout !== undefined && { Timeout: timeout }),
    ...(environment !== undefined && { Environment: { Variables: environment } }),
    ...(layers !== undefined && { Layers: layers }),
  };
}

/** Those of `members` that the controller has otherwise. */
export function changedMembers(members: Members, current: FunctionConfiguration): Members {
  const known: Members = {
    ...current,
    Description: current.Description ?? '',
    Environment: { Variables: current.Environment?.Variables ?? {} },
    Layers: (current.Layers ?? []).map(({ Arn }) => Arn),
  };
  return Object.fromEntries(Object.entries(members).filter(([key, value]) => !isSame(value, known[key])));
}

function isSame(left: unknown, right: unknown): boolean {
  return canonical(left) === canonical(right);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
