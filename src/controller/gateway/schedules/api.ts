/**
 * Runs in snapctr. What `snapctr schedule` asks: when functions get events by themselves. An API of our own, in the protocol of the Logs
 * API; its words are those of the key `schedules` of the YAML files.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import { callerOf, type AuditLog } from '../../../auth/audit-log.ts';
import type { Caller } from '../../../auth/caller.ts';
import type { Operation } from '../../../auth/operations.ts';
import { ControlError } from '../../../control/control-error.ts';
import type { FunctionControl } from '../../../control/function-control.ts';
import type { ScheduleSettings } from '../../../control/schedule-changes.ts';
import { LATEST } from '../../../protocol/arn.ts';
import type { FunctionRegistry, FunctionSchedule } from '../../../registry/function-registry.ts';
import { checkSchedule, SCHEDULE_NAME } from '../../schedules/schedule-checks.ts';
import type { Scheduler } from '../../schedules/scheduler.ts';
import type { Json, JsonApi } from '../json/api.ts';
import { JsonApiError, type Body, type JsonApiErrorType } from '../json/body.ts';

/** In an answer. */
const MAX_SCHEDULES_SHOWN = 100;
/** Of each the next due time is looked for, 2 ms where there is none; after so many the event loop has its turn. */
const AT_ONCE = 5;

export interface SchedulesApiOptions {
  readonly registry: Pick<FunctionRegistry, 'get' | 'list'>;
  readonly scheduler: Pick<Scheduler, 'nextDue'>;
  /** Null: nothing is kept that is made over an API. */
  readonly functions: Pick<FunctionControl, 'setSchedule' | 'removeSchedule'> | null;
  /** Told who changed what. */
  readonly audit: Pick<AuditLog, 'add'>;
}

const momentSchema = z.iso.datetime({ offset: true });
/** As they are kept. */
const keptMomentSchema = z.iso.datetime();

export class SchedulesApi implements JsonApi {
  readonly name = 'SnapfaasSchedules';
  readonly service = 'lambda';
  readonly #options: SchedulesApiOptions;

  constructor(options: SchedulesApiOptions) {
    this.#options = options;
  }

  async run(operation: string, body: Body, caller: Caller): Promise<Json> {
    switch (operation) {
      case 'ListSchedules':
        return this.#list(body, caller);
      case 'GetSchedule':
        return this.#get(body, caller);
      case 'PutSchedule':
        return this.#put(body, caller);
      case 'DeleteSchedule':
        return this.#delete(body, caller);
      default:
        throw new JsonApiError('UnknownOperationException', `${operation} is not offered`);
    }
  }

  async #list(body: Body, caller: Caller): Promise<Json> {
    caller.authorize('snapfaas:ListSchedules');
    const functionName = body.string('functionName');
    const limit = body.integer('limit', 1, MAX_SCHEDULES_SHOWN) ?? MAX_SCHEDULES_SHOWN;
    const found: (readonly [functionName: string, schedule: FunctionSchedule])[] = [];
    for (const one of this.#after(body.string('nextToken'), functionName)) {
      if (!caller.mayList(one[0])) continue;
      found.push(one);
      if (found.length > limit) break;
    }
    const page = found.slice(0, limit);
    const last = page.at(-1);
    const schedules: Json[] = [];
    for (const [of, schedule] of page) {
      schedules.push(this.#shown(of, schedule));
      if (schedules.length % AT_ONCE === 0) await nextTurn();
    }
    return {
      schedules,
      ...(found.length > limit && last !== undefined ? { nextToken: `${last[0]}/${last[1].name}` } : {}),
    };
  }

  /** By function and name, those of one page after those of the one before, whatever has changed between. */
  *#after(token: string | null, functionName: string | null): Iterable<readonly [string, FunctionSchedule]> {
    const { registry } = this.#options;
    const [of = '', after = ''] = token?.split('/') ?? [];
    const one = functionName === null ? undefined : registry.get(functionName);
    const functions = functionName === null ? registry.list() : one === undefined ? [] : [one];
    for (const { name, schedules } of functions) {
      if (name < of) continue;
      for (const schedule of schedules) if (name > of || schedule.name > after) yield [name, schedule];
    }
  }

  #get(body: Body, caller: Caller): Json {
    const functionName = body.required('functionName');
    caller.authorize('snapfaas:GetSchedule', functionName);
    return this.#whole(functionName, body.required('name'));
  }

  async #put(body: Body, caller: Caller): Promise<Json> {
    const functionName = body.required('functionName');
    caller.authorize('snapfaas:PutSchedule', functionName);
    const name = body.required('name');
    if (!SCHEDULE_NAME.test(name)) refuse(`'name' must be 1 to 64 letters, digits, ".", "-" or "_"`);
    const settings = settingsOf(body);
    const problem = checkSchedule(settings);
    if (problem !== null) refuse(`schedule "${name}": ${problem}`);
    await this.#changing((functions) => functions.setSchedule(functionName, name, settings));
    await this.#note('snapfaas:PutSchedule', caller, functionName, name);
    return this.#whole(functionName, name);
  }

  async #delete(body: Body, caller: Caller): Promise<Json> {
    const functionName = body.required('functionName');
    caller.authorize('snapfaas:DeleteSchedule', functionName);
    const name = body.required('name');
    await this.#changing((functions) => functions.removeSchedule(functionName, name));
    await this.#note('snapfaas:DeleteSchedule', caller, functionName, name);
    return {};
  }

  async #note(action: Operation, caller: Caller, functionName: string, schedule: string): Promise<void> {
    await this.#options.audit.add({ action, ...callerOf(caller), function: functionName, schedule });
  }

  /** @throws JsonApiError; ControlError `host_failed` */
  async #changing(
    change: (functions: Pick<FunctionControl, 'setSchedule' | 'removeSchedule'>) => Promise<void>,
  ): Promise<void> {
    const { functions } = this.#options;
    if (functions === null) {
      const how = 'give it --data-dir, or name schedules by the key `schedules` of its YAML file';
      refuse(`this controller keeps nothing that is made over the API: ${how}`);
    }
    try {
      await change(functions);
    } catch (error) {
      const type = error instanceof ControlError ? TYPES[error.code] : undefined;
      throw error instanceof ControlError && type !== undefined ? new JsonApiError(type, error.message) : error;
    }
  }

  #whole(functionName: string, name: string): Json {
    const schedule = this.#options.registry.get(functionName)?.schedules.find((one) => one.name === name);
    if (schedule !== undefined) {
      return { ...this.#shown(functionName, schedule), ...(schedule.input === null ? {} : { input: schedule.input }) };
    }
    throw new JsonApiError('ResourceNotFoundException', `the function ${functionName} has no schedule ${name}`);
  }

  /** All but the input, which may be large. */
  #shown(functionName: string, schedule: FunctionSchedule): Json {
    const { name, expression, timeZone, qualifier, missed, start, end, isPaused, since } = schedule;
    const nextDue = this.#options.scheduler.nextDue(functionName, name);
    return {
      functionName,
      name,
      expression,
      timeZone,
      ...(qualifier === null ? {} : { qualifier }),
      missed,
      ...(start === null ? {} : { start }),
      ...(end === null ? {} : { end }),
      state: isPaused ? 'paused' : 'enabled',
      from: since === null ? 'file' : 'api',
      ...(nextDue === null ? {} : { nextDue: new Date(nextDue).toISOString() }),
    };
  }
}

/** What a client is told; the rest is the host's fault. */
const TYPES: Readonly<Partial<Record<ControlError['code'], JsonApiErrorType>>> = {
  not_found: 'ResourceNotFoundException',
  conflict: 'ConflictException',
  invalid: 'InvalidParameterException',
};

function settingsOf(body: Body): ScheduleSettings {
  const qualifier = body.string('qualifier');
  return {
    expression: body.required('expression'),
    timeZone: body.string('timeZone') ?? 'UTC',
    qualifier: qualifier === LATEST ? null : qualifier,
    input: inputOf(body),
    missed: oneOf(body, 'missed', ['once', 'skip']),
    start: momentOf(body, 'start'),
    end: momentOf(body, 'end'),
    isPaused: oneOf(body, 'state', ['enabled', 'paused']) === 'paused',
  };
}

function inputOf(body: Body): string | null {
  const input = body.string('input');
  try {
    if (input !== null) JSON.parse(input);
    return input;
  } catch {
    return refuse("'input' must be JSON, in a string");
  }
}

/** The first one, if it is not said. */
function oneOf<T extends string>(body: Body, key: string, words: readonly [T, T]): T {
  const given = body.string(key);
  const word = given === null ? words[0] : words.find((one) => one === given);
  return word ?? refuse(`'${key}' must be "${words.join('" or "')}"`);
}

/** Years of the calendar can be left by an offset. */
function momentOf(body: Body, key: string): string | null {
  const given = body.string(key);
  if (given === null) return null;
  const moment = momentSchema.safeParse(given).success ? new Date(given).toISOString() : '';
  return keptMomentSchema.safeParse(moment).success
    ? moment
    : refuse(`'${key}' must be a moment such as 2026-05-01T08:00:00Z`);
}

function refuse(message: string): never {
  throw new JsonApiError('InvalidParameterException', message);
}
