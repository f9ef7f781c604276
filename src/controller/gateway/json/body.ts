/** Runs in snapctr. The members of a request in AWS's JSON protocol, each checked when it is read. */

/** What clients of these APIs know an error by. */
export type JsonApiErrorType =
  | 'ConflictException'
  | 'InvalidParameterException'
  | 'LimitExceededException'
  | 'ResourceNotFoundException'
  | 'SerializationException'
  | 'UnknownOperationException';

export class JsonApiError extends Error {
  override readonly name = 'JsonApiError';
  readonly type: JsonApiErrorType;

  constructor(type: JsonApiErrorType, message: string) {
    super(message);
    this.type = type;
  }
}

/** @throws JsonApiError if it is no JSON object. */
export function readBody(body: Buffer): Body {
  let value: unknown;
  try {
    value = body.length === 0 ? {} : JSON.parse(body.toString('utf8'));
  } catch {
    throw new JsonApiError('SerializationException', 'the body is not valid JSON');
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return new Body(value as Readonly<Record<string, unknown>>);
  }
  throw new JsonApiError('SerializationException', 'the body must be a JSON object');
}

/** Each method throws a JsonApiError for a member that is there and not what it should be; null: it is not there. */
export class Body {
  readonly #members: Readonly<Record<string, unknown>>;

  constructor(members: Readonly<Record<string, unknown>>) {
    this.#members = members;
  }

  string(key: string): string | null {
    const value = this.#get(key);
    if (value === null || typeof value === 'string') return value;
    throw wrong(key, 'must be a string');
  }

  required(key: string): string {
    const value = this.string(key);
    if (value !== null && value !== '') return value;
    throw wrong(key, 'must be given');
  }

  strings(key: string): readonly string[] | null {
    const value = this.#get(key);
    if (value === null) return null;
    if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value;
    throw wrong(key, 'must be a list of strings');
  }

  boolean(key: string): boolean | null {
    const value = this.#get(key);
    if (value === null || typeof value === 'boolean') return value;
    throw wrong(key, 'must be true or false');
  }

  integer(key: string, least: number, most = Number.MAX_SAFE_INTEGER): number | null {
    const value = this.#get(key);
    if (value === null) return null;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw wrong(key, `must be a whole number from ${least} to ${most}`);
  }

  #get(key: string): unknown {
    return Object.hasOwn(this.#members, key) ? (this.#members[key] ?? null) : null;
  }
}

function wrong(key: string, what: string): JsonApiError {
  return new JsonApiError('InvalidParameterException', `'${key}' ${what}`);
}
