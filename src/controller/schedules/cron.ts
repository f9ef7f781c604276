/**
 * Runs in snapctr. Cron expressions as Amazon EventBridge has them: minutes, hours, day of month, month, day of week and year, with `,`
 * `-` `*` `/` `?` `L` `W` `#`. Times here are those of a clock on a wall, in ms as if it were in Greenwich; `wall-clock.ts` has zones.
 */

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 3600 * 1000;
const FIRST_YEAR = 1970;
const LAST_YEAR = 2199;
const MONTHS = 'JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC'.split(' ');
/** From 1 on. */
const WEEKDAYS = 'SUN MON TUE WED THU FRI SAT'.split(' ');
const SUNDAY = 1;
const SATURDAY = 7;

interface Field {
  readonly label: string;
  readonly least: number;
  readonly most: number;
  /** Of `least` and those after it. */
  readonly names: readonly string[];
}

const MINUTES: Field = { label: 'minutes', least: 0, most: 59, names: [] };
const HOURS: Field = { label: 'hours', least: 0, most: 23, names: [] };
const DAY_OF_MONTH: Field = { label: 'day of month', least: 1, most: 31, names: [] };
const MONTH: Field = { label: 'month', least: 1, most: 12, names: MONTHS };
const DAY_OF_WEEK: Field = { label: 'day of week', least: 1, most: 7, names: WEEKDAYS };
const YEAR: Field = { label: 'year', least: FIRST_YEAR, most: LAST_YEAR, names: [] };

/** Adds the days of a month that it means to a set. */
type DayRule = (month: Month, days: Set<number>) => void;

interface Month {
  readonly length: number;
  /** Of its first day. */
  readonly weekday: number;
}

/** What is wrong with an expression, and what it takes. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
}

export class Cron {
  readonly #minutes: readonly number[];
  readonly #hours: readonly number[];
  readonly #months: ReadonlySet<number>;
  /** Null: all of them. */
  readonly #years: ReadonlySet<number> | null;
  readonly #days: readonly DayRule[];

  /** @param text the six fields. @throws ExpressionError */
  constructor(text: string) {
    const fields = text.trim().split(/\s+/);
    const [minutes = '', hours = '', dayOfMonth = '', month = '', dayOfWeek = '', year = ''] = fields;
    if (fields.length !== 6) {
      throw new ExpressionError(
        `a cron expression has six fields (minutes, hours, day of month, month, day of week, year), not ${fields.length}`,
      );
    }
    if ((dayOfMonth === '?') === (dayOfWeek === '?')) {
      throw new ExpressionError('exactly one of day of month and day of week must be `?`');
    }
    this.#minutes = sorted(values(MINUTES, minutes));
    this.#hours = sorted(values(HOURS, hours));
    this.#months = values(MONTH, month);
    this.#years = year === '*' ? null : values(YEAR, year);
    this.#days = dayOfWeek === '?' ? daysOfMonth(dayOfMonth) : daysOfWeek(dayOfWeek);
  }

  /** The first time after this one; null: there is none. */
  next(afterMs: number): number | null {
    const from = new Date(Math.floor(afterMs / MINUTE_MS) * MINUTE_MS + MINUTE_MS);
    const first = Math.max(from.getUTCFullYear(), FIRST_YEAR);
    for (let year = first; year <= LAST_YEAR; year += 1) {
      if (this.#years?.has(year) === false) continue;
      for (let month = year === from.getUTCFullYear() ? from.getUTCMonth() : 0; month < 12; month += 1) {
        const found = this.#inMonth(year, month, (ms) => ms >= from.getTime(), 'first');
        if (found !== null) return found;
      }
    }
    return null;
  }

  /** The last time that is this one or before it; null: there is none. */
  previous(untilMs: number): number | null {
    const until = new Date(untilMs);
    const last = Math.min(until.getUTCFullYear(), LAST_YEAR);
    for (let year = last; year >= FIRST_YEAR; year -= 1) {
      if (this.#years?.has(year) === false) continue;
      for (let month = year === until.getUTCFullYear() ? until.getUTCMonth() : 11; month >= 0; month -= 1) {
        const found = this.#inMonth(year, month, (ms) => ms <= untilMs, 'last');
        if (found !== null) return found;
      }
    }
    return null;
  }

  #inMonth(year: number, month: number, isWanted: (ms: number) => boolean, which: 'first' | 'last'): number | null {
    if (!this.#months.has(month + 1)) return null;
    const start = Date.UTC(year, month, 1);
    const days = new Set<number>();
    const length = new Date(Date.UTC(year, month + 1, 0)).getUTCDate();
    for (const rule of this.#days) rule({ length, weekday: new Date(start).getUTCDay() + 1 }, days);
    const inOrder = (all: readonly number[]): readonly number[] => (which === 'first' ? all : all.toReversed());
    for (const day of inOrder(sorted(days))) {
      const midnight = start + (day - 1) * DAY_MS;
      // The whole day, before its minutes are looked at.
      if (!isWanted(which === 'first' ? midnight + DAY_MS - MINUTE_MS : midnight)) continue;
      for (const hour of inOrder(this.#hours)) {
        for (const minute of inOrder(this.#minutes)) {
          const ms = midnight + (hour * 60 + minute) * MINUTE_MS;
          if (isWanted(ms)) return ms;
        }
      }
    }
    return null;
  }
}

function sorted(numbers: ReadonlySet<number>): readonly number[] {
  return [...numbers].sort((a, b) => a - b);
}

function daysOfMonth(text: string): readonly DayRule[] {
  return parts(DAY_OF_MONTH, text).map((part): DayRule => {
    const [, before] = /^L(?:-(\d{1,2}))?$/i.exec(part) ?? [];
    if (/^L/i.test(part) && part.length === 1) return ({ length }, days) => days.add(length);
    if (before !== undefined && Number(before) <= 30) {
      return ({ length }, days) => {
        if (length > Number(before)) days.add(length - Number(before));
      };
    }
    if (/^LW$/i.test(part)) return (month, days) => days.add(nearestWorkday(month, month.length));
    const [, nearest] = /^(\d{1,2})W$/i.exec(part) ?? [];
    if (nearest !== undefined) {
      const day = numberOf(DAY_OF_MONTH, nearest);
      return (month, days) => {
        if (day <= month.length) days.add(nearestWorkday(month, day));
      };
    }
    const wanted = partValues(DAY_OF_MONTH, part);
    return ({ length }, days) => {
      for (const day of wanted) if (day <= length) days.add(day);
    };
  });
}

function daysOfWeek(text: string): readonly DayRule[] {
  const all = parts(DAY_OF_WEEK, text);
  return all.map((part): DayRule => {
    const [, day, nth] = /^(\w+)#(\d+)$/.exec(part) ?? [];
    if (day !== undefined && nth !== undefined) {
      if (all.length > 1) throw new ExpressionError('with `#`, the day of week is one expression alone');
      const weekday = numberOf(DAY_OF_WEEK, day);
      const count = Number(nth);
      if (count < 1 || count > 5) throw new ExpressionError(`\`${part}\`: a month has a day from 1 to 5 times`);
      return (month, days) => {
        const found = firstOf(month, weekday) + 7 * (count - 1);
        if (found <= month.length) days.add(found);
      };
    }
    // The last day of the week.
    if (/^L$/i.test(part)) return everyWeekday(new Set([SATURDAY]));
    const [, last] = /^(\d|[a-z]{3})L$/i.exec(part) ?? [];
    if (last !== undefined) {
      const weekday = numberOf(DAY_OF_WEEK, last);
      return (month, days) => {
        const first = firstOf(month, weekday);
        days.add(first + 7 * Math.floor((month.length - first) / 7));
      };
    }
    return everyWeekday(partValues(DAY_OF_WEEK, part));
  });
}

function everyWeekday(weekdays: ReadonlySet<number>): DayRule {
  return (month, days) => {
    for (const weekday of weekdays) {
      for (let day = firstOf(month, weekday); day <= month.length; day += 7) days.add(day);
    }
  };
}

/** Its first day of the month. */
function firstOf(month: Month, weekday: number): number {
  return 1 + ((weekday - month.weekday + 7) % 7);
}

/** Monday to Friday, in the same month. */
function nearestWorkday(month: Month, day: number): number {
  const weekday = ((month.weekday + day - 2) % 7) + 1;
  if (weekday === SATURDAY) return day === 1 ? 3 : day - 1;
  if (weekday === SUNDAY) return day === month.length ? day - 2 : day + 1;
  return day;
}

function values(field: Field, text: string): ReadonlySet<number> {
  return new Set(parts(field, text).flatMap((part) => [...partValues(field, part)]));
}

function parts({ label }: Field, text: string): readonly string[] {
  const all = text.split(',');
  if (all.includes('') || all.length > 100) throw new ExpressionError(`\`${text}\` is no list for ${label}`);
  return all;
}

/** `5`, `MON`, `1-5`, `*`, and each with `/` and a step. A range may lead over the end: `FRI-MON`, `22-2`. */
function partValues(field: Field, part: string): ReadonlySet<number> {
  const { label, least, most } = field;
  const [range = '', step, ...more] = part.split('/');
  const by = step === undefined ? 1 : /^\d{1,4}$/.test(step) ? Number(step) : 0;
  if (more.length > 0 || by < 1) throw unknownPart(field, part);
  const [from = '', to, ...others] = range.split('-');
  if (others.length > 0) throw unknownPart(field, part);
  const isAll = range === '*';
  const first = isAll ? least : numberOf(field, from);
  const last =
    isAll || (to === undefined && step !== undefined) ? most : to === undefined ? first : numberOf(field, to);
  if (last < first && field === YEAR)
    throw new ExpressionError(`\`${part}\`: ${label} go from the earlier to the later`);
  const found = new Set<number>();
  const size = most - least + 1;
  const end = last < first ? last + size : last;
  for (let value = first; value <= end; value += by) found.add(value > most ? value - size : value);
  return found;
}

function numberOf(field: Field, text: string): number {
  const { least, most, names } = field;
  const named = names.indexOf(text.toUpperCase());
  const value = named === -1 ? (/^\d{1,4}$/.test(text) ? Number(text) : NaN) : named + least;
  if (value >= least && value <= most) return value;
  throw unknownPart(field, text);
}

function unknownPart({ label, least, most, names }: Field, part: string): ExpressionError {
  const named = names.length === 0 ? '' : ` or ${names[0] ?? ''} to ${names.at(-1) ?? ''}`;
  return new ExpressionError(
    `\`${part.slice(0, 40)}\` is nothing for ${label}: ${least} to ${most}${named}, with , - * /`,
  );
}
