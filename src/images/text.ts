/** Runs in the builder and in `npm start`. Text files of a function, as editors and shells of all systems write them. */

/** UTF-8 with or without a byte order mark, or UTF-16 with one (as PowerShell's `>` writes); lines end in "\n". */
export function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes;
  const isUtf16 = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  const encoding = !isUtf16 ? 'utf-8' : first === 0xff ? 'utf-16le' : 'utf-16be';
  return new TextDecoder(encoding).decode(bytes).replace(/\r\n?/g, '\n');
}
