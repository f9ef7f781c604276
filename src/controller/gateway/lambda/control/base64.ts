/** Runs in snapctr. Base64 as a string of JSON has it, decoded piece by piece. */

/** What is in a string of JSON instead of one character. */
const ESCAPE = /\\(?:u([0-9a-fA-F]{4})|([^u]))/g;
/** An escape of which the end has not come. */
const PART_OF_ESCAPE = /\\(?:u[0-9a-fA-F]{0,3})?$/;
const SHORT_ESCAPES: Readonly<Record<string, string>> = { '/': '/', n: '\n', r: '\r', t: '\t' };
const WHITE = /[ \t\r\n]+/g;
/** What JSON has no room for in a string but as escapes. */
const LINES = /[\t\r\n]/;
const ALPHABET = /^[A-Za-z0-9+/]*$/;

export class NotBase64 extends Error {
  override readonly name = 'NotBase64';
}

/** With padding, as SDKs and `base64` write it. White space between is passed over. */
export class Base64Decoder {
  /** Characters of a group that is not whole, or an escape's beginning. */
  #held = '';
  #escape = '';
  #padding = 0;

  /** @param text bytes of a JSON string's inside. @throws NotBase64 */
  push(text: Buffer): Buffer {
    let characters = this.#escape + text.toString('latin1');
    if (LINES.test(characters)) throw new NotBase64('it has line breaks or tabs that are not escaped');
    this.#escape = '';
    if (characters.includes('\\')) characters = this.#unescape(characters);
    if (!ALPHABET.test(characters)) characters = this.#withoutPadding(characters.replace(WHITE, ''));
    else if (characters !== '' && this.#padding > 0) throw new NotBase64('it goes on behind its padding');
    const all = this.#held + characters;
    const whole = all.length & ~3;
    this.#held = all.slice(whole);
    return Buffer.from(all.slice(0, whole), 'base64');
  }

  /** @throws NotBase64 if its last group is not whole. */
  finish(): Buffer {
    const due = this.#held.length === 0 ? 0 : 4 - this.#held.length;
    if (this.#escape !== '') throw new NotBase64('it ends within an escape');
    if (due === 3 || due !== this.#padding) throw new NotBase64('its last group of four characters is not whole');
    return Buffer.from(this.#held, 'base64');
  }

  #unescape(characters: string): string {
    // A backslash that is itself escaped is no base64 anyway.
    const part = PART_OF_ESCAPE.exec(characters)?.[0] ?? '';
    this.#escape = part;
    const whole = part === '' ? characters : characters.slice(0, -part.length);
    return whole.replace(ESCAPE, (_, code: string | undefined, letter: string | undefined) =>
      code === undefined ? (SHORT_ESCAPES[letter ?? ''] ?? '\\') : String.fromCharCode(Number.parseInt(code, 16)),
    );
  }

  #withoutPadding(characters: string): string {
    const bare = characters.replace(/=+$/, '');
    if (!ALPHABET.test(bare)) throw new NotBase64('it has characters that base64 has not');
    if (bare !== '' && this.#padding > 0) throw new NotBase64('it goes on behind its padding');
    this.#padding += characters.length - bare.length;
    if (this.#padding > 2) throw new NotBase64('it has too much padding');
    return bare;
  }
}
