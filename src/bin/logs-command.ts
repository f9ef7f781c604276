/** `snapctr logs`: what a function of a running controller has printed. */
import type { Command } from 'commander';
import { badInput } from '../client/client-error.ts';
import type { LogEvent } from '../client/logs-client.ts';
import { clientAction, clientOptions, type ClientFlags, type Session } from './client-command.ts';
import { printable } from './printable.ts';
import { notEmpty } from './flags.ts';

interface LogsFlags extends ClientFlags {
  readonly follow?: true;
  readonly since: string;
  readonly until?: string;
  readonly version?: string;
  readonly filter?: string;
  readonly request?: string;
}

const EXAMPLES = `
Examples:
  $ snapctr logs hello --follow
  $ snapctr logs hello --since 2d --filter 'ERROR -timeout'
  $ snapctr logs hello --version 3 --since 2h --until 1h
  $ snapctr logs hello --request 0b9d4f6e-…`;

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

export function registerLogsCommand(program: Command): void {
  clientOptions(program.command('logs'))
    .argument('<name>', 'the function', notEmpty)
    .description('show what a function has printed')
    .option('-f, --follow', 'go on with whatever it prints')
    .option('--since <time>', 'a time such as 30s, 10m, 2h or 3d ago, or 2026-11-28T12:00:00Z', '1h')
    .option('--until <time>', 'the same, of the last line to be shown')
    .option('--version <version>', 'lines of one version, such as 3 or $LATEST')
    .option('--filter <pattern>', 'lines with these words: ERROR, "a phrase", -without, ?one ?or ?another')
    .option('--request <id>', 'lines of one invocation')
    .addHelpText('after', EXAMPLES)
    .action(clientAction(run));
}

async function run(session: Session, flags: LogsFlags, name: string): Promise<void> {
  const nowMs = Date.now();
  const query = {
    name,
    sinceMs: timeOf('--since', flags.since, nowMs),
    untilMs: untilOf(flags, nowMs),
    version: versionOf(flags),
    filter: flags.filter ?? null,
    requestId: flags.request ?? null,
  };
  for await (const event of session.logs.events(query, flags.follow === true)) {
    const line = session.json ? JSON.stringify(event) : shownEvent(event);
    // Whoever reads slowly is waited for.
    if (!process.stdout.write(`${line}\n`)) await new Promise((resolve) => process.stdout.once('drain', resolve));
  }
}

/** @throws ClientError `bad_input` */
export function timeOf(flag: '--since' | '--until', text: string, nowMs: number): number {
  const [, count, unit = ''] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  if (count !== undefined) return nowMs - Number(count) * (UNIT_MS[unit] ?? 0);
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  if (!Number.isNaN(time)) return time;
  return badInput(`${flag}: "${text}" is no time; write it as in 30s, 10m, 2h, 3d or 2026-11-28T12:00:00Z`);
}

function untilOf({ until, follow }: LogsFlags, nowMs: number): number | null {
  if (until === undefined) return null;
  if (follow === true) badInput('--until: what is followed has no end; leave out one of --follow and --until');
  return timeOf('--until', until, nowMs);
}

function versionOf({ version }: LogsFlags): string | null {
  if (version === undefined || version === '$LATEST' || /^\d{1,10}$/.test(version)) return version ?? null;
  return badInput(
    `--version: "${version}" is no version; write a number, or $LATEST (in quotes, because shells have a use for $)`,
  );
}

function shownEvent({ timestamp, message }: LogEvent): string {
  return `${new Date(timestamp).toISOString()} ${printable(message)}`;
}
