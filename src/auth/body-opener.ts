/** Runs in snapctr. Bodies that have to be what was signed, in whatever pieces they come. */

export interface BodyOpener {
  /**
   * @param piece of the body, as it came.
   * @returns what is meant by it. It is not proven before `end`, and nothing may take effect by it until then.
   * @throws AccessError if it cannot be what was signed.
   */
  push(piece: Buffer): readonly Buffer[];
  /** The body has come. @throws AccessError if it is not what was signed. */
  end(): void;
}

/** For a body that nothing was signed of. */
export const AS_IT_IS: BodyOpener = { push: (piece) => [piece], end: () => undefined };

/** @returns what is meant by a whole body. @throws AccessError if it is not what was signed. */
export function openWhole(opener: BodyOpener, body: Buffer): Buffer {
  const pieces = opener.push(body);
  opener.end();
  const [first] = pieces;
  return pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces);
}
