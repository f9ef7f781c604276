/** `snapctr schedule`: when functions of a running controller get events by themselves. */
import { type Command, Option } from 'commander';
import { badInput } from '../client/client-error.ts';
import type { NewSchedule, Schedule } from '../client/schedules-client.ts';
import { clientAction, clientOptions, table, type ClientFlags, type Session } from './client-command.ts';
import { printable } from './printable.ts';
import { notEmpty } from './flags.ts';

interface AddFlags extends ClientFlags, Pick<NewSchedule, 'timeZone' | 'qualifier' | 'missed' | 'start' | 'end'> {
  readonly input?: string;
  readonly paused?: true;
}

const EXAMPLES = `
Examples:
  $ snapctr schedule add report often 'rate(5 minutes)' --input '{"full": false}'
  $ snapctr schedule add report weekdays 'cron(0 8 ? * MON-FRI *)' --time-zone Europe/Berlin
  $ snapctr schedule list
  $ snapctr schedule pause report weekdays

Schedules of functions of a YAML file are shown, and changed in their file.`;

export function registerScheduleCommands(program: Command): void {
  const schedule = program
    .command('schedule')
    .description('when functions get events by themselves')
    .addHelpText('after', EXAMPLES);
  onOne(schedule, 'add')
    .argument('<expression>', "such as 'rate(5 minutes)' or 'cron(0 8 ? * MON-FRI *)'")
    .description('have a function get events; one of that name is replaced')
    .option('--time-zone <zone>', 'of a cron, such as Europe/Berlin (default: UTC)')
    .option('--qualifier <version>', 'a version or an alias', notEmpty)
    .option('--input <json>', "the event (default: EventBridge's scheduled event)")
    .addOption(
      new Option('--missed <what>', 'due times during a stop become one event, or none').choices(['once', 'skip']),
    )
    .option('--start <time>', 'not due before, such as 2026-05-01T08:00:00Z; a rate counts from it')
    .option('--end <time>', 'not due after')
    .option('--paused', 'not due before it is resumed')
    .action(clientAction(add));
  clientOptions(schedule.command('list'))
    .argument('[function]', 'schedules of this function alone')
    .description('show schedules, and when they are due next')
    .action(clientAction(list));
  onOne(schedule, 'show').description('show one with its input').action(clientAction(show));
  onOne(schedule, 'remove').description('remove one').action(clientAction(remove));
  onOne(schedule, 'pause')
    .description('have one be due no more until it is resumed')
    .action(clientAction((session, _flags: ClientFlags, of: string, name: string) => set(session, of, name, 'paused')));
  onOne(schedule, 'resume')
    .description('have one be due again, from now on')
    .action(
      clientAction((session, _flags: ClientFlags, of: string, name: string) => set(session, of, name, 'enabled')),
    );
}

function onOne(schedule: Command, name: string): Command {
  return clientOptions(schedule.command(name))
    .argument('<function>', 'the function', notEmpty)
    .argument('<name>', 'the schedule, another one for each of the function', notEmpty);
}

async function add(
  session: Session,
  flags: AddFlags,
  functionName: string,
  name: string,
  expression: string,
): Promise<void> {
  const { timeZone, qualifier, missed, start, end, input } = flags;
  if (input !== undefined && !isJson(input)) badInput(`--input: "${input.slice(0, 64)}" is not JSON; quote it as JSON`);
  const state = flags.paused === true ? 'paused' : 'enabled';
  const members = { functionName, name, expression, timeZone, qualifier, missed, start, end, input, state } as const;
  tellSet(session, await session.schedules.put(members));
}

async function list(session: Session, _flags: ClientFlags, functionName: string | undefined): Promise<void> {
  const all: Schedule[] = [];
  for await (const schedule of session.schedules.list(functionName)) all.push(schedule);
  const rows = all.map((one) => {
    return [one.functionName, one.name, one.expression, one.timeZone, one.state, one.nextDue ?? '-', one.from];
  });
  const heading = ['FUNCTION', 'NAME', 'EXPRESSION', 'ZONE', 'STATE', 'NEXT', 'FROM'];
  session.print(all, all.length === 0 ? [] : table([heading, ...rows.map((row) => row.map(printable))]));
  if (!session.json && all.length === 0) session.note('there are no schedules');
}

async function show(session: Session, _flags: ClientFlags, functionName: string, name: string): Promise<void> {
  const schedule = await session.schedules.get(functionName, name);
  session.print(
    schedule,
    Object.entries(schedule).map(([key, value]) => printable(`${key}: ${value}`)),
  );
}

async function remove(session: Session, _flags: ClientFlags, functionName: string, name: string): Promise<void> {
  await session.schedules.delete(functionName, name);
  session.print({ removed: name }, [`${functionName}/${name} is removed`]);
}

async function set(session: Session, of: string, name: string, state: Schedule['state']): Promise<void> {
  tellSet(session, await session.schedules.put({ ...(await session.schedules.get(of, name)), state }));
}

function tellSet(session: Session, schedule: Schedule): void {
  const { functionName, name, state, nextDue } = schedule;
  const next = state === 'paused' ? 'paused' : nextDue === undefined ? 'never due again' : `due next at ${nextDue}`;
  session.print(schedule, [printable(`${functionName}/${name}: ${next}`)]);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
