/**
 * Runs in snapctr. Values of requests, checked as the API's model has them: what is wrong is told for all members at once, in the
 * words of AWS.
 */
import { ApiError } from '../errors.ts';

type Json = Readonly<Record<string, unknown>>;

/** What is wrong, in the words that follow "failed to satisfy constraint: ". */
interface Problem {
  readonly value: unknown;
  readonly path: string;
  readonly constraint: string;
  readonly isSecret: boolean;
}

export interface Shape<T> {
  /** What it is in JSON, as AWS names it. */
  readonly type: string;
  /** @returns null: it is of another type. */
  readonly read: (value: unknown, path: string, problems: Problem[]) => T | null;
  /** The constraints of a value that a list or map may have, in the order of AWS. */
  readonly constraints: readonly string[];
}

interface StringLimits {
  readonly min?: number;
  readonly max?: number;
  /** Of the model, without `^` and `$`. */
  readonly pattern?: string;
  readonly oneOf?: readonly string[];
  /** The value is not told. */
  readonly isSecret?: boolean;
}

export function string({ min, max, pattern, oneOf, isSecret = false }: StringLimits = {}): Shape<string> {
  const rules: (readonly [boolean: (value: string) => boolean, constraint: string])[] = [];
  if (max !== undefined) {
    rules.push([(value) => value.length <= max, `Member must have length less than or equal to ${max}`]);
  }
  if (min !== undefined && min > 0) {
    rules.push([(value) => value.length >= min, `Member must have length greater than or equal to ${min}`]);
  }
  if (pattern !== undefined) {
    const whole = new RegExp(`^(?:${pattern})$`, 'u');
    rules.push([(value) => whole.test(value), `Member must satisfy regular expression pattern: ${pattern}`]);
  }
  if (oneOf !== undefined) {
    rules.push([(value) => oneOf.includes(value), `Member must satisfy enum value set: [${oneOf.join(', ')}]`]);
  }
  return {
    type: 'String',
    constraints: rules.map(([, constraint]) => constraint),
    read: (value, path, problems) => {
      if (typeof value !== 'string') return null;
      for (const [holds, constraint] of rules) {
        // A pattern is not tried on what is too long for it.
        if (holds(value)) continue;
        problems.push({ value, path, constraint, isSecret });
        break;
      }
      return value;
    },
  };
}

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): Shape<number> {
  return number('Integer', min, max, Number.isSafeInteger);
}

export function double(min: number, max: number): Shape<number> {
  return number('Double', min, max, Number.isFinite);
}

function number(type: string, min: number, max: number, isOne: (value: unknown) => boolean): Shape<number> {
  const atMost = `Member must have value less than or equal to ${max}`;
  const atLeast = `Member must have value greater than or equal to ${min}`;
  return {
    type,
    constraints: max === Number.MAX_SAFE_INTEGER ? [atLeast] : [atMost, atLeast],
    read: (value, path, problems) => {
      if (typeof value !== 'number' || !isOne(value)) return null;
      if (value > max) problems.push({ value, path, constraint: atMost, isSecret: false });
      if (value < min) problems.push({ value, path, constraint: atLeast, isSecret: false });
      return value;
    },
  };
}

export const boolean: Shape<boolean> = {
  type: 'Boolean',
  constraints: [],
  read: (value) => (typeof value === 'boolean' ? value : null),
};

/** A member of a model that is not looked into: it is told that it is not offered. */
export const anything: Shape<unknown> = { type: 'Object', constraints: [], read: (value) => value };

export function list<T>(member: Shape<T>, min = 0, max = Number.MAX_SAFE_INTEGER): Shape<readonly T[]> {
  return {
    type: 'List',
    constraints: [],
    read: (value, path, problems) => {
      if (!Array.isArray(value)) return null;
      const add = (constraint: string): void => void problems.push({ value, path, constraint, isSecret: false });
      if (value.length > max) add(`Member must have length less than or equal to ${max}`);
      if (value.length < min) add(`Member must have length greater than or equal to ${min}`);
      return value.map((one) => {
        const inside: Problem[] = [];
        const read = readOne(member, one, path, inside);
        if (inside.length > 0) add(`Member must satisfy constraint: [${allOf(member)}]`);
        return read;
      });
    },
  };
}

export function map<T>(key: Shape<string>, member: Shape<T>, isSecret = false): Shape<Readonly<Record<string, T>>> {
  return {
    type: 'Map',
    constraints: [],
    read: (value, path, problems) => {
      if (!isJson(value)) return null;
      const read = new Map<string, T>();
      let keyIsWrong = false;
      let memberIsWrong = false;
      for (const [name, one] of Object.entries(value)) {
        const ofKey: Problem[] = [];
        const ofMember: Problem[] = [];
        key.read(name, path, ofKey);
        read.set(name, readOne(member, one, `${path}.${name}`, ofMember));
        keyIsWrong ||= ofKey.length > 0;
        memberIsWrong ||= ofMember.length > 0;
      }
      const add = (constraint: string): void => void problems.push({ value, path, constraint, isSecret });
      if (keyIsWrong) add(`Map keys must satisfy constraint: [${allOf(key)}]`);
      if (memberIsWrong) add(`Map value must satisfy constraint: [${allOf(member)}]`);
      return Object.fromEntries(read);
    },
  };
}

/** Members of a structure: those that are absent or null are undefined. */
export type Members<S extends Readonly<Record<string, Shape<unknown>>>> = {
  readonly [K in keyof S]?: S[K] extends Shape<infer T> ? T : never;
};

/** Members that are none of the model are passed over, as on AWS. */
export function structure<S extends Readonly<Record<string, Shape<unknown>>>>(
  members: S,
  required: readonly (keyof S & string)[] = [],
): Shape<Members<S>> {
  return {
    type: 'Object',
    constraints: [],
    read: (value, path, problems) => {
      if (!isJson(value)) return null;
      const read = new Map<string, unknown>();
      for (const [name, shape] of Object.entries(members)) {
        const one = Object.hasOwn(value, name) ? value[name] : undefined;
        const at = path === '' ? lowerFirst(name) : `${path}.${lowerFirst(name)}`;
        if (one !== undefined && one !== null) read.set(name, readOne(shape, one, at, problems));
        else if (required.includes(name)) {
          problems.push({ value: null, path: at, constraint: 'Member must not be null', isSecret: false });
        }
      }
      return Object.fromEntries(read) as Members<S>;
    },
  };
}

/**
 * @param value what JSON has.
 * @throws ApiError SerializationException for a value of another type, ValidationException with all else that is wrong.
 */
export function readShape<T>(shape: Shape<T>, value: unknown): T {
  const problems: Problem[] = [];
  const read = readOne(shape, value, '', problems);
  refuse(problems);
  return read;
}

/** A parameter of the path or the query. @throws ApiError */
export function readParameter(shape: Shape<string>, value: string, path: string): string {
  const problems: Problem[] = [];
  shape.read(value, path, problems);
  refuse(problems);
  return value;
}

function refuse(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const count = `${problems.length} validation error${problems.length === 1 ? '' : 's'} detected`;
  throw new ApiError('ValidationException', `${count}: ${problems.slice(0, 20).map(sentence).join('; ')}`);
}

function sentence({ value, path, constraint, isSecret }: Problem): string {
  const shown = isSecret ? 'Value' : value === null ? 'Value null' : `Value '${shownValue(value)}'`;
  return `${shown} at '${path}' failed to satisfy constraint: ${constraint}`;
}

function shownValue(value: unknown): string {
  const inside = (one: unknown): string => (typeof one === 'string' ? one : JSON.stringify(one));
  const text = Array.isArray(value)
    ? `[${value.map(inside).join(', ')}]`
    : isJson(value)
      ? `{${Object.entries(value)
          .map(([name, one]) => `${name}=${inside(one)}`)
          .join(', ')}}`
      : inside(value);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

function readOne<T>(shape: Shape<T>, value: unknown, path: string, problems: Problem[]): T {
  const read = shape.read(value, path, problems);
  if (read !== null) return read;
  const where = path === '' ? '' : ` (at '${path}')`;
  throw new ApiError(
    'SerializationException',
    `${typeOf(value)} can not be converted to ${article(shape.type)}${where}`,
  );
}

function typeOf(value: unknown): string {
  if (value === null) return 'NULL_VALUE';
  if (Array.isArray(value)) return 'START_ARRAY';
  switch (typeof value) {
    case 'string':
      return 'STRING_VALUE';
    case 'number':
      return Number.isInteger(value) ? 'NUMBER_VALUE' : 'DECIMAL_VALUE';
    case 'boolean':
      return value ? 'TRUE_VALUE' : 'FALSE_VALUE';
    default:
      return 'START_OBJECT';
  }
}

function article(type: string): string {
  return /^[AEIO]/.test(type) ? `an ${type}` : `a ${type}`;
}

function allOf({ constraints }: Shape<unknown>): string {
  return [...constraints, 'Member must not be null'].join(', ');
}

function lowerFirst(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
