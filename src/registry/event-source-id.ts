/** Runs in snapctr. What event sources are called by: also the name of their consumer on the server, so that they go on where they were. */
import { createHash } from 'node:crypto';

/** Of one of the YAML files: the same whenever they are read. */
export function eventSourceIdOf(functionArn: string, stream: string, subject: string | null): string {
  const hex = createHash('sha256')
    .update(JSON.stringify([functionArn, stream, subject]))
    .digest('hex');
  // A UUID of version 8, whose bits mean what its maker says.
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}

/** Whether messages can be chosen by it: tokens between dots, `*` for any one, `>` for any that follow. */
export function isSubject(text: string): boolean {
  if (text.length > 255 || !/^[!-~]+$/.test(text)) return false;
  const tokens = text.split('.');
  return tokens.every((token, index) => {
    if (token === '>') return index === tokens.length - 1;
    return token === '*' || /^[^*>]+$/.test(token);
  });
}
