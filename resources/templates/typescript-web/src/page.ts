/** The page, with a name from outside made harmless. */
export function page(name: string): string {
  const safe = name.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
  return `<!doctype html><title>Hello</title><h1>Hello, ${safe}!</h1>`;
}
