/** Runs in firerunner. What differs between two stamps, in a few words: some of their values are kilobytes of JSON. */

/** Places that are named at most. */
const MAX_PLACES = 3;
/** A longer value is cut, in characters. */
const MAX_VALUE_CHARS = 60;

/** @returns such as `1, now 2`, or `/3/body/kernel: "a", now "b"` where both are JSON. */
export function differenceOf(was: unknown, now: unknown): string {
  const [left, right] = [parsed(was), parsed(now)];
  if (!isCompound(left) || !isCompound(right)) return `${brief(was)}, now ${brief(now)}`;
  const places = differences(left, right, '');
  const more = places.length > MAX_PLACES ? `, and ${places.length - MAX_PLACES} more` : '';
  return places.slice(0, MAX_PLACES).join('; ') + more;
}

function differences(was: unknown, now: unknown, path: string): readonly string[] {
  if (!isCompound(was) || !isCompound(now)) {
    return JSON.stringify(was) === JSON.stringify(now) ? [] : [`${path}: ${brief(was)}, now ${brief(now)}`];
  }
  const names = new Set([...Object.keys(was), ...Object.keys(now)]);
  return [...names].flatMap((name) => differences(own(was, name), own(now, name), `${path}/${name}`));
}

function own(value: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(value, name) ? value[name] : undefined;
}

function isCompound(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function parsed(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

function brief(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > MAX_VALUE_CHARS ? `${text.slice(0, MAX_VALUE_CHARS)}…` : text;
}
