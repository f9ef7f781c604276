/**
 * Runs in snapctr and in firerunner. Whether bytes are JSON (RFC 8259), told without building their value: of a payload of
 * several megabytes `JSON.parse` would make twice as much memory again, only to throw it away.
 */

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
const [MINUS, PLUS, POINT, ZERO, NINE, SMALL_E, BIG_E, SMALL_U] = [0x2d, 0x2b, 0x2e, 0x30, 0x39, 0x65, 0x45, 0x75];
/** The first byte that stands for itself in a string. */
const SPACE = 0x20;
const WHITE = new Set([SPACE, 0x09, 0x0a, 0x0d]);
const ESCAPES = new Set(Array.from('"\\/bfnrt', (letter) => letter.charCodeAt(0)));
const LITERALS = ['true', 'false', 'null'].map((word) => Buffer.from(word));

/** @param bytes whose UTF-8 is somebody else's to check. */
export function isJsonText(bytes: Uint8Array): boolean {
  return new JsonScan(bytes).isWhole();
}

/** The same for JSON whose value is an object. */
export function isJsonObject(bytes: Uint8Array): boolean {
  const scan = new JsonScan(bytes);
  return scan.beginsWith(OPEN_OBJECT) && scan.isWhole();
}

class JsonScan {
  readonly #bytes: Uint8Array;
  /** Of the next byte. */
  #at = 0;
  /** The closing brackets that are due, the innermost at the end. */
  readonly #due: number[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Whether this is the first byte that is no space. */
  beginsWith(byte: number): boolean {
    return this.#afterSpace() === byte;
  }

  /** One value, and nothing behind it. Without recursion, so that no depth of nesting is too much. */
  isWhole(): boolean {
    do {
      if (!this.#value()) return false;
    } while (this.#hasNext());
    return this.#due.length === 0 && this.#at === this.#bytes.length;
  }

  /** A scalar, an empty array or object, or the brackets and keys up to the first scalar inside. */
  #value(): boolean {
    for (;;) {
      const byte = this.#afterSpace();
      if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
        this.#at += 1;
        const closing = byte === OPEN_ARRAY ? CLOSE_ARRAY : CLOSE_OBJECT;
        if (this.#afterSpace() === closing) {
          this.#at += 1;
          return true;
        }
        this.#due.push(closing);
        if (byte === OPEN_OBJECT && !this.#key()) return false;
        continue;
      }
      if (byte === QUOTE) return this.#string();
      if (byte === MINUS || isDigit(byte)) return this.#number();
      return this.#literal();
    }
  }

  /** Behind a value: closes what ends here. False if no comma, and so no value, follows. */
  #hasNext(): boolean {
    for (;;) {
      const byte = this.#afterSpace();
      const closing = this.#due.at(-1);
      if (closing === undefined) return false;
      if (byte === COMMA) {
        this.#at += 1;
        return closing === CLOSE_ARRAY || this.#key();
      }
      if (byte !== closing) return false;
      this.#at += 1;
      this.#due.pop();
    }
  }

  #key(): boolean {
    if (this.#afterSpace() !== QUOTE || !this.#string() || this.#afterSpace() !== COLON) return false;
    this.#at += 1;
    return true;
  }

  #string(): boolean {
    const bytes = this.#bytes;
    let at = this.#at + 1;
    for (;;) {
      const byte = bytes[at];
      if (byte === undefined || byte < SPACE) return false;
      if (byte === QUOTE) break;
      if (byte !== BACKSLASH) at += 1;
      else if (bytes[at + 1] === SMALL_U && isHex4(bytes, at + 2)) at += 6;
      else if (ESCAPES.has(bytes[at + 1] ?? 0)) at += 2;
      else return false;
    }
    this.#at = at + 1;
    return true;
  }

  #number(): boolean {
    if (this.#bytes[this.#at] === MINUS) this.#at += 1;
    if (this.#bytes[this.#at] === ZERO) this.#at += 1;
    else if (!this.#digits()) return false;
    if (this.#bytes[this.#at] === POINT) {
      this.#at += 1;
      if (!this.#digits()) return false;
    }
    const byte = this.#bytes[this.#at];
    if (byte !== SMALL_E && byte !== BIG_E) return true;
    this.#at += 1;
    const sign = this.#bytes[this.#at];
    if (sign === PLUS || sign === MINUS) this.#at += 1;
    return this.#digits();
  }

  /** One at least. */
  #digits(): boolean {
    const start = this.#at;
    while (isDigit(this.#bytes[this.#at])) this.#at += 1;
    return this.#at > start;
  }

  #literal(): boolean {
    const rest = this.#bytes.subarray(this.#at, this.#at + 5);
    const word = LITERALS.find((one) => one.equals(rest.subarray(0, one.length)));
    this.#at += word?.length ?? 0;
    return word !== undefined;
  }

  #afterSpace(): number | undefined {
    while (WHITE.has(this.#bytes[this.#at] ?? 0)) this.#at += 1;
    return this.#bytes[this.#at];
  }
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE;
}

function isHex4(bytes: Uint8Array, from: number): boolean {
  for (let at = from; at < from + 4; at += 1) {
    if (!/[0-9a-fA-F]/.test(String.fromCharCode(bytes[at] ?? 0))) return false;
  }
  return true;
}
