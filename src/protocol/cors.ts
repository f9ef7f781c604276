/** Runs in snapctr, and in the commands of people. What the lists of a CORS configuration may have, wherever they are written. */

const ANY = '*';
/** RFC 9110, 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const METHODS: readonly string[] = [ANY, 'GET', 'PUT', 'HEAD', 'POST', 'PATCH', 'DELETE'];

/** Null: nothing is said of it. */
export interface CorsLists {
  readonly allowOrigins: readonly string[] | null;
  readonly allowMethods: readonly string[] | null;
  readonly allowHeaders: readonly string[] | null;
  readonly exposeHeaders: readonly string[] | null;
}

export interface CorsProblem {
  readonly list: keyof CorsLists;
  /** As JSON has it. */
  readonly value: string;
  readonly message: string;
}

/** The first value that could not stand in a header, or would never match; null: there is none. */
export function corsProblem(cors: CorsLists): CorsProblem | null {
  const first = (list: keyof CorsLists, isGood: (value: string) => boolean, message: string): CorsProblem | null => {
    const bad = cors[list]?.find((value) => !isGood(value));
    return bad === undefined ? null : { list, value: JSON.stringify(bad), message };
  };
  return (
    first('allowOrigins', isOriginPattern, `an allowed origin is * or such as https://example.com, without a path`) ??
    first('allowMethods', (value) => METHODS.includes(value), `an allowed method is one of ${METHODS.join(', ')}`) ??
    first('allowHeaders', isToken, 'it is no name of a header') ??
    first('exposeHeaders', isToken, 'it is no name of a header')
  );
}

function isToken(value: string): boolean {
  return TOKEN.test(value);
}

function isOriginPattern(value: string): boolean {
  return value === ANY || value === 'null' || /^[a-z][a-z0-9+.-]*:\/\/[^/\s\p{Cc}]+$/iu.test(value);
}
