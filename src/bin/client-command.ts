/**
 * What the commands of people share: which controller they speak to, how they tell what they do, and their exit status. Results go
 * to stdout, all else to stderr.
 */
import type { Command } from 'commander';
import { ClientError } from '../client/client-error.ts';
import { EventsClient } from '../client/events-client.ts';
import { InvocationsClient } from '../client/invocations-client.ts';
import { LambdaClient, type ClientOptions } from '../client/lambda-client.ts';
import { LiveClient } from '../client/live-client.ts';
import { LogsClient } from '../client/logs-client.ts';
import { SchedulesClient } from '../client/schedules-client.ts';
import { inStep, progressOn, type ProgressStep } from '../images/progress.ts';
import { MissingFileError } from '../images/project.ts';
import { ToolError } from '../images/tool.ts';
import { TreeError } from '../images/tree.ts';
import { messageOf } from '../protocol/errors.ts';
import { DirectoryError } from '../storage/make-directory.ts';

export const ENDPOINT_VARIABLE = 'SNAPFAAS_ENDPOINT';
export const TOKEN_VARIABLE = 'SNAPFAAS_TOKEN';
const DEFAULT_ENDPOINT = 'http://127.0.0.1:8080';

/** The table is in docs/commands.md. */
export const EXIT = { ok: 0, failed: 1, usage: 2, functionFailed: 3, interrupted: 130 } as const;

export interface ClientFlags {
  readonly endpoint?: string;
  readonly token?: string;
  readonly json?: true;
}

/** One command that runs. */
export interface Session {
  readonly connection: Pick<ClientOptions, 'endpoint' | 'token'>;
  readonly client: LambdaClient;
  readonly logs: LogsClient;
  readonly live: LiveClient;
  readonly events: EventsClient;
  readonly schedules: SchedulesClient;
  readonly invocations: InvocationsClient;
  readonly json: boolean;
  /** Aborts when the user has enough. */
  readonly signal: AbortSignal;
  /** A long step, shown while it lasts. */
  step<T>(name: string, work: (step: ProgressStep) => Promise<T>, describe?: (result: T) => string): Promise<T>;
  note(text: string): void;
  /** The result: `value` with `--json`, else the lines. */
  print(value: unknown, lines: readonly string[]): void;
}

export function clientOptions(command: Command): Command {
  return command
    .option('--endpoint <url>', `the controller (default: $${ENDPOINT_VARIABLE}, else ${DEFAULT_ENDPOINT})`)
    .option('--token <id.secret>', `a key of it (default: $${TOKEN_VARIABLE}); see "snapctr keys"`)
    .option('--json', 'the result as JSON');
}

/**
 * An action for commander, whose last arguments are the flags and the command.
 *
 * @param run gets the arguments before those.
 */
export function clientAction<Args extends readonly string[], Flags extends ClientFlags>(
  run: (session: Session, flags: Flags, ...args: Args) => Promise<void>,
): (...words: [...Args, Flags, Command]) => Promise<void> {
  return async (...words) => {
    const flags = words.at(-2) as Flags;
    const args = words.slice(0, -2) as unknown as Args;
    const stop = new AbortController();
    const onSignal = (): void => stop.abort(new Interrupted());
    process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
    try {
      await run(openSession(flags, stop.signal), flags, ...args);
    } catch (error) {
      process.exitCode = tellFailure(error, stop.signal, flags.json === true);
    } finally {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    }
  };
}

class Interrupted extends Error {
  constructor() {
    super('interrupted');
  }
}

function openSession(flags: ClientFlags, signal: AbortSignal): Session {
  const progress = progressOn(process.stderr);
  const token = flags.token ?? process.env[TOKEN_VARIABLE] ?? '';
  const endpoint = parseEndpoint(flags.endpoint ?? process.env[ENDPOINT_VARIABLE] ?? '');
  const options = { endpoint, token: checkedToken(token), signal };
  return {
    connection: options,
    client: new LambdaClient(options),
    logs: new LogsClient(options),
    live: new LiveClient(options),
    events: new EventsClient(options),
    schedules: new SchedulesClient(options),
    invocations: new InvocationsClient(options),
    json: flags.json === true,
    signal,
    step: (name, work, describe) => inStep(progress, name, work, describe),
    note: (text) => void process.stderr.write(`note: ${text}\n`),
    print: (value, lines) => {
      const text = flags.json === true ? JSON.stringify(value, null, 2) : lines.join('\n');
      if (text !== '') process.stdout.write(`${text}\n`);
    },
  };
}

function parseEndpoint(text: string): URL {
  const given = text === '' ? DEFAULT_ENDPOINT : text;
  const url = URL.canParse(given) ? new URL(given) : null;
  if (url !== null && (url.protocol === 'http:' || url.protocol === 'https:') && url.search + url.hash === '')
    return url;
  throw new ClientError('bad_input', `the endpoint "${given}" is no URL; write it as in ${DEFAULT_ENDPOINT}`);
}

function checkedToken(token: string): string | null {
  if (token === '') return null;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new ClientError(
    'bad_input',
    'the token has characters that none has; write it as "snapctr keys add" shows it: ID.SECRET',
  );
}

/** A failure in a line or some, for whoever goes on after it. */
export function describeFailure(error: unknown): string {
  const message = messageOf(error);
  const type = error instanceof ClientError ? error.type : null;
  return type === null || message.startsWith(type) ? message : `${type}: ${message}`;
}

/** @returns the exit status. A stack says nothing to someone who has misspelt a name; what is our fault is thrown on. */
function tellFailure(error: unknown, signal: AbortSignal, asJson: boolean): number {
  if (signal.aborted) return EXIT.interrupted;
  const isKnown = [ClientError, TreeError, ToolError, MissingFileError, DirectoryError].some(
    (kind) => error instanceof kind,
  );
  if (!isKnown) throw error;
  const message = messageOf(error);
  const { code, type } = error instanceof ClientError ? error : { code: codeOfTool(error), type: null };
  process.stderr.write(`error: ${describeFailure(error)}${hint(type)}\n`);
  if (asJson) process.stdout.write(`${JSON.stringify({ error: { code, type, message } }, null, 2)}\n`);
  return code === 'bad_input' ? EXIT.usage : EXIT.failed;
}

function codeOfTool(error: unknown): string {
  return error instanceof TreeError ? 'bad_input' : 'tool_failed';
}

function hint(type: string | null): string {
  switch (type) {
    case 'MissingAuthenticationTokenException':
    case 'UnrecognizedClientException':
      return `\nthe controller wants a key; make one with "snapctr keys add", and give it by --token or ${TOKEN_VARIABLE}`;
    case 'UnknownOperationException':
      return '\nthis controller does not have that operation; is it of the same version as this command?';
    default:
      return '';
  }
}

/** Rows in columns, the first row a heading. */
export function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
