/** Functions of Node's that do something of ours as well. Names, lengths and whatever else is asked of them stay as they are. */

export type Call = (receiver: unknown, args: readonly unknown[]) => unknown;

/** @param instead gets a call of the original, which takes its receiver and arguments. */
export function replaceMethod(
  owner: object,
  name: string,
  instead: (original: Call, receiver: unknown, args: readonly unknown[]) => unknown,
): void {
  const methods = owner as Record<string, ((...args: unknown[]) => unknown) | undefined>;
  const original = methods[name];
  if (original === undefined) return;
  const call: Call = (receiver, args) => Reflect.apply<unknown, readonly unknown[], unknown>(original, receiver, args);
  methods[name] = new Proxy(original, {
    apply: (_original, receiver, args: unknown[]) => instead(call, receiver, args),
  });
}
