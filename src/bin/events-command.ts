/** `snapctr events`: invocations of type Event that wait at a controller, and those that failed for good. */
import { type Command, Option } from 'commander';
import type { EventChoice, KeptEvent } from '../client/events-client.ts';
import { badInput } from '../client/client-error.ts';
import { clientAction, clientOptions, table, type ClientFlags, type Session } from './client-command.ts';
import { printable } from './printable.ts';

interface ListFlags extends ClientFlags {
  readonly status?: KeptEvent['status'];
}

const EXAMPLES = `
Examples:
  $ snapctr events list --status dead
  $ snapctr events show 17
  $ snapctr events redrive orders        all dead ones of the function begin anew
  $ snapctr events redrive https://example.com/hook      and all that it was not reached for
  $ snapctr events purge 17`;

export function registerEventsCommands(program: Command): void {
  const events = program
    .command('events')
    .description('events that wait for their function, and those that failed for good')
    .addHelpText('after', EXAMPLES);
  clientOptions(events.command('list'))
    .argument('[target]', 'events of this function, file:NAME or URL alone')
    .addOption(new Option('--status <status>', 'only those').choices(['pending', 'dead']))
    .description('show the events that are kept')
    .action(clientAction(list));
  clientOptions(events.command('show'))
    .argument('<number>', 'the event, as "list" shows it')
    .description('show one with its payload')
    .action(clientAction(show));
  const what = 'a dead event, or all dead ones of the function, file:NAME or URL';
  clientOptions(events.command('redrive'))
    .argument('<number|target>', what)
    .description('have dead events begin anew')
    .action(clientAction((session, _flags: ClientFlags, which: string) => change(session, 'redrive', which)));
  clientOptions(events.command('purge'))
    .argument('<number|target>', what)
    .description('remove dead events')
    .action(clientAction((session, _flags: ClientFlags, which: string) => change(session, 'purge', which)));
}

async function list(session: Session, { status }: ListFlags, which: string | undefined): Promise<void> {
  const all: KeptEvent[] = [];
  for await (const event of session.events.list({ ...(which === undefined ? {} : choiceOf(which)), status }))
    all.push(event);
  const rows = all.map(({ event, target, tries, at, reason = '', ...one }) => {
    return [String(event), target, one.status, String(tries), new Date(at).toISOString(), printable(reason)];
  });
  session.print(all, all.length === 0 ? [] : table([['EVENT', 'FOR', 'STATUS', 'TRIES', 'AT', 'REASON'], ...rows]));
  if (!session.json && all.length === 0) session.note('there are no such events');
}

async function show(session: Session, _flags: ClientFlags, number: string): Promise<void> {
  const event = await session.events.get(numberOf(number) ?? badInput(`"${number}" is no number of an event`));
  const lines = Object.entries(event)
    .filter(([key]) => key !== 'payload')
    .map(
      ([key, value]) =>
        `${key}: ${key === 'acceptedAt' || key === 'at' ? new Date(Number(value)).toISOString() : value}`,
    );
  session.print(event, [...lines, '', event.payload].map(printable));
}

async function change(session: Session, kind: 'redrive' | 'purge', which: string): Promise<void> {
  const event = numberOf(which);
  const choice: EventChoice = event === null ? choiceOf(which) : { event };
  const changed = await session.events[kind](choice);
  const done = kind === 'redrive' ? 'begun anew' : 'removed';
  session.print({ changed }, [`${changed} ${changed === 1 ? 'event' : 'events'} ${done}`]);
}

/** A name has neither a colon nor a slash. */
function choiceOf(which: string): { readonly functionName: string } | { readonly target: string } {
  return /[:/]/.test(which) ? { target: which } : { functionName: which };
}

/** A function whose name is a number is meant by no number: its events are changed one by one. */
function numberOf(text: string): number | null {
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}
