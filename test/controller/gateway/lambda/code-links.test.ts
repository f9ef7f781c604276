import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodeLinks } from '../../../../src/controller/gateway/lambda/control/code-links.ts';

const BASE = 'http://127.0.0.1:8080';
const SHA256 = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);
const LIFE_MS = 10 * 60_000;

/** What is at a link. */
function check(links: CodeLinks, link: string): string | null {
  const { pathname, searchParams } = new URL(link);
  assert.ok(CodeLinks.owns(pathname));
  return links.check(pathname, searchParams);
}

test('code links: one serves for ten minutes, and no longer', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-11-29T12:00:00Z') });
  const links = new CodeLinks();
  const link = links.urlOf(BASE, SHA256);
  assert.equal(check(links, link), SHA256);
  t.mock.timers.tick(LIFE_MS - 1);
  assert.equal(check(links, link), SHA256);
  t.mock.timers.tick(2);
  assert.equal(check(links, link), null);
  assert.equal(check(links, links.urlOf(BASE, SHA256)), SHA256);
});

test('code links: none is for another package, a longer time or another snapctr', () => {
  const links = new CodeLinks();
  const link = links.urlOf(BASE, SHA256);
  const changed = (name: string, value: string): string => {
    const url = new URL(link);
    url.searchParams.set(name, value);
    return url.href;
  };
  const { searchParams } = new URL(link);
  const longer = String(Number(searchParams.get('expires')) + 1);
  for (const [what, other] of [
    ['another package', link.replace(SHA256, OTHER)],
    ['a longer time', changed('expires', longer)],
    ['a time without end', changed('expires', 'Infinity')],
    ['no time', changed('expires', '')],
    ['another token', changed('token', 'c'.repeat(64))],
    ['a token that is cut off', changed('token', searchParams.get('token')?.slice(0, -1) ?? '')],
    ['no token', changed('token', '')],
  ] as const) {
    assert.equal(check(links, other), null, what);
  }
  assert.equal(check(new CodeLinks(), link), null);
  assert.equal(check(links, link), SHA256);
});
