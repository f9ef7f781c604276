/** What comes in parts, as from a network. */
export async function* oneByOne<T>(parts: readonly T[]): AsyncGenerator<T> {
  for (const part of parts) yield await Promise.resolve(part);
}
