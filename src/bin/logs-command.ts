/** `snapctr logs`: what a function of a running controller has printed. */
import type { Command } from 'commander';
import { badInput } from '../client/client-error.ts';
import type { LogEvent } from '../client/logs-client.ts';
import { clientAction, clientOptions, type ClientFlags, type Session } from './client-command.ts';
import { printable } from './printable.ts';

interface LogsFlags extends ClientFlags {
  readonly follow?: true;
  readonly since: string;
  readonly filter?: string;
  readonly request?: string;
}

const EXAMPLES = `
Examples:
  $ snapctr logs hello --follow
  $ snapctr logs hello --since 2d --filter 'ERROR -timeout'
  $ snapctr logs hello --request 0b9d4f6e-…`;

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

export function registerLogsCommand(program: Command): void {
  clientOptions(program.command('logs'))
    .argument('<name>', 'the function')
    .description('show what a function has printed')
    .option('-f, --follow', 'go on with whatever it prints')
    .option('--since <time>', 'a time such as 30s, 10m, 2h or 3d ago, or 2026-11-28T12:00:00Z', '1h')
    .option('--filter <pattern>', 'lines with these words: ERROR, "a phrase", -without, ?one ?or ?another')
    .option('--request <id>', 'lines of one invocation')
    .addHelpText('after', EXAMPLES)
    .action(clientAction(run));
}

async function run(session: Session, flags: LogsFlags, name: string): Promise<void> {
  const query = {
    name,
    sinceMs: sinceMs(flags.since, Date.now()),
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
export function sinceMs(text: string, nowMs: number): number {
  const [, count, unit = ''] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  if (count !== undefined) return nowMs - Number(count) * (UNIT_MS[unit] ?? 0);
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  if (!Number.isNaN(time)) return time;
  return badInput(`--since: "${text}" is no time; write it as in 30s, 10m, 2h, 3d or 2026-11-28T12:00:00Z`);
}

function shownEvent({ timestamp, message }: LogEvent): string {
  return `${new Date(timestamp).toISOString()} ${printable(message)}`;
}
