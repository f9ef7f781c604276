/** Runs in snapctr. Who gets an event, as a text: `function:NAME`, `function:NAME:QUALIFIER`, `file:NAME`, or a URL of HTTP. */

export type Target =
  | { readonly kind: 'function'; readonly name: string; readonly qualifier: string | null }
  /** A file of JSON lines in the data directory. */
  | { readonly kind: 'file'; readonly name: string }
  | { readonly kind: 'http'; readonly url: string };

export function functionTarget(name: string, qualifier: string | null): string {
  return `function:${name}${qualifier === null ? '' : `:${qualifier}`}`;
}

export function parseTarget(text: string): Target {
  if (text.startsWith('function:')) {
    const [name = '', qualifier] = text.slice('function:'.length).split(':');
    return { kind: 'function', name, qualifier: qualifier ?? null };
  }
  if (text.startsWith('file:')) return { kind: 'file', name: text.slice('file:'.length) };
  return { kind: 'http', url: text };
}

/** @param destination as the API has it: the ARN of a function, or as it is here. */
export function targetOf(destination: string): string;
export function targetOf(destination: string | null): string | null;
export function targetOf(destination: string | null): string | null {
  const [, name, qualifier] = /:function:([^:]+)(?::([^:]+))?$/.exec(destination ?? '') ?? [];
  const isFunction = destination?.startsWith('arn:') === true && name !== undefined;
  return isFunction ? functionTarget(name, qualifier ?? null) : destination;
}
