/**
 * Runs in the commands of people. What invokes the functions of a template by itself: the events of SAM that are schedules, and mappings
 * of event sources. The others have nothing here that would send them, and are noted.
 */
import type { NewSchedule } from '../schedules-client.ts';
import { asText, type Intrinsics, Unresolved, type Value } from './intrinsics.ts';

/** A stream whose messages a function gets; members as CreateEventSourceMapping takes them. */
export interface TemplateEventSource {
  readonly functionName: string;
  readonly members: Readonly<Record<string, unknown>>;
}

/** A function of SAM that has events. */
export interface WithEvents {
  readonly id: string;
  readonly name: string;
  /** The alias that is published; undefined: none is. */
  readonly qualifier: string | undefined;
  readonly events: unknown;
}

const SCHEDULE_NAME = /^[0-9a-zA-Z._-]{1,64}$/;
/** Of a schedule: read, or without a meaning where there are no roles. */
const READ = new Set(
  'Schedule ScheduleExpression ScheduleExpressionTimezone Name Description Enabled State Input StartDate EndDate FlexibleTimeWindow RoleArn PermissionsBoundary GroupName OmitName'.split(
    ' ',
  ),
);
/** Streams of servers that snapctr knows. */
const STREAM = /^arn:[^:]*:nats:/;

/** @param note is told what is left out. */
export function schedulesOf(fn: WithEvents, values: Intrinsics, note: (text: string) => void): readonly NewSchedule[] {
  const others: string[] = [];
  const schedules: NewSchedule[] = [];
  for (const [key, raw] of Object.entries(isMap(fn.events) ? fn.events : {})) {
    const type = isMap(raw) ? raw['Type'] : undefined;
    if (type !== 'Schedule' && type !== 'ScheduleV2') {
      others.push(`${key} (${typeof type === 'string' ? type : 'of no type'})`);
      continue;
    }
    try {
      const properties = values.value(isMap(raw) ? raw['Properties'] : undefined);
      const schedule = isMap(properties) ? scheduleOf(fn, key, properties, note) : null;
      if (schedule !== null) schedules.push(schedule);
    } catch (error) {
      if (!(error instanceof Unresolved)) throw error;
      note(`the schedule ${key} of ${fn.id} is left out: it ${error.message}`);
    }
  }
  if (others.length > 0) note(`of ${fn.id} these events are left out: ${others.join(', ')}`);
  return schedules;
}

function scheduleOf(
  { id, name: functionName, qualifier }: WithEvents,
  key: string,
  properties: Readonly<Record<string, unknown>>,
  note: (text: string) => void,
): NewSchedule | null {
  const get = (member: string): string | undefined => {
    const text = asText(properties[member] as Value);
    return typeof text === 'string' ? text : undefined;
  };
  const expression = get('Schedule') ?? get('ScheduleExpression') ?? '';
  if (!/^\s*(rate|cron)\(/.test(expression)) {
    note(`the schedule ${key} of ${id} is left out: "${expression}" is neither rate(…) nor cron(…)`);
    return null;
  }
  const window = properties['FlexibleTimeWindow'];
  const others = Object.keys(properties).filter((one) => !READ.has(one));
  if (isMap(window) && window['Mode'] !== 'OFF') others.push('FlexibleTimeWindow');
  if (others.length > 0) note(`of the schedule ${key} of ${id} these are left out: ${others.join(', ')}`);
  const given = get('Name') ?? key;
  const isPaused = get('State') === 'DISABLED' || get('Enabled') === 'false';
  return {
    functionName,
    name: SCHEDULE_NAME.test(given) ? given : key,
    expression,
    timeZone: get('ScheduleExpressionTimezone'),
    qualifier,
    input: get('Input'),
    start: momentOf(get('StartDate')),
    end: momentOf(get('EndDate')),
    state: isPaused ? 'paused' : 'enabled',
  };
}

/** What is no moment is told by the controller. */
function momentOf(text: string | undefined): string | undefined {
  const at = Date.parse(text ?? '');
  return Number.isNaN(at) ? text : new Date(at).toISOString();
}

/**
 * @param value the properties, worked out.
 * @returns null: it is noted why it is left out.
 */
export function eventSourceOf(
  id: string,
  value: Value | undefined,
  note: (text: string) => void,
): TemplateEventSource | null {
  const { FunctionName, Tags, ...members } = isMap(value) ? value : {};
  const arn = members['EventSourceArn'];
  if (typeof FunctionName !== 'string') note(`${id} is left out: it needs \`FunctionName\``);
  else if (typeof arn !== 'string' || !STREAM.test(arn)) {
    note(`${id} is left out: its source is no stream of NATS JetStream (arn:aws:nats:REGION:ACCOUNT:stream/STREAM)`);
  } else {
    if (Tags !== undefined) note(`of ${id} these are left out: Tags`);
    return { functionName: FunctionName, members };
  }
  return null;
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
