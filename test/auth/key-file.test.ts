import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AuditLog, type AuditLine } from '../../src/auth/audit-log.ts';
import { addKey, KeyFileError, readKeyFile, removeKey } from '../../src/auth/key-file.ts';
import { WatchedKeys, type KeyChange } from '../../src/auth/keyring.ts';
import { matchesPattern, OPERATIONS } from '../../src/auth/operations.ts';
import { PROJECT_ROOT } from '../support/snapctr.ts';
import { KEY } from './requests.ts';

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-keys-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const GOOD = JSON.stringify({ version: 1, keys: [KEY] });

test('keys: one that was added is read, and one that was removed is gone', async (t) => {
  const path = join(directoryFor(t), 'keys.json');
  assert.equal(readKeyFile(path), null);
  const ci = await addKey(path, { name: 'ci', role: 'deploy', functions: ['a-*'] });
  const shop = await addKey(path, { name: 'shop', role: 'invoke', functions: ['*'] });
  assert.match(ci.id, /^SFAK[A-Z2-7]{16}$/);
  assert.match(ci.secret, /^[A-Za-z0-9_-]{40}$/);
  assert.notEqual(ci.secret, shop.secret);
  assert.deepEqual(readKeyFile(path), [ci, shop]);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  await assert.rejects(addKey(path, { name: 'ci', role: 'admin', functions: [] }), /already .* remove it, or choose/);
  assert.deepEqual(await removeKey(path, 'ci'), ci);
  assert.deepEqual(await removeKey(path, shop.id), shop);
  await assert.rejects(removeKey(path, 'ci'), /no key "ci"/);
  assert.deepEqual(readKeyFile(path), []);
  assert.deepEqual(readdirSync(join(path, '..')), ['keys.json']);
});

test('keys: of many that are added at once none is lost', async (t) => {
  const path = join(directoryFor(t), 'keys.json');
  const names = Array.from({ length: 12 }, (_, index) => `key-${index}`);
  await Promise.all(names.map((name) => addKey(path, { name, role: 'invoke', functions: ['*'] })));
  assert.deepEqual(
    readKeyFile(path)
      ?.map(({ name }) => name)
      .sort(),
    names.sort(),
  );
});

for (const name of ['', ' ', 'a b', '../x', 'a'.repeat(65), '-x', KEY.id, 'ü']) {
  test(`keys: ${JSON.stringify(name.slice(0, 20))} is no name`, async (t) => {
    const path = join(directoryFor(t), 'keys.json');
    await assert.rejects(addKey(path, { name, role: 'invoke', functions: ['*'] }), KeyFileError);
    assert.equal(readKeyFile(path), null);
  });
}

const BAD_FILES: readonly (readonly [title: string, message: RegExp, make: (path: string) => void])[] = [
  ['others may read', /can be used by others \(mode 0644\).*chmod 600/, (path) => write(path, GOOD, 0o644)],
  ['its group may write', /can be used by others \(mode 0620\)/, (path) => write(path, GOOD, 0o620)],
  ['is a directory', /no regular file/, (path) => mkdirSync(path, 0o700)],
  ['is a pipe', /no regular file/, (path) => execFileSync('mkfifo', ['-m', '600', path])],
  [
    'is a link',
    /is a symbolic link; name the file itself/,
    (path) => {
      write(`${path}.real`, GOOD);
      symlinkSync(`${path}.real`, path);
    },
  ],
  ['is a link to nowhere', /is a symbolic link/, (path) => symlinkSync(`${path}.none`, path)],
  [
    'has a second name',
    /hard link/,
    (path) => {
      write(path, GOOD);
      linkSync(path, `${path}.too`);
    },
  ],
  ['is empty', /is not JSON/, (path) => write(path, '')],
  ['is cut off', /is not JSON/, (path) => write(path, GOOD.slice(0, -10))],
  ['is a list', /is not right/, (path) => write(path, '[]')],
  ['is of a newer version', /version 2, made by a newer snapctr/, (path) => write(path, '{"version":2,"keys":[]}')],
  [
    'has an unknown role',
    /keys\.0\.role: must be one of invoke, deploy, admin/,
    (path) => write(path, changed({ role: 'root' })),
  ],
  [
    'has a bad pattern',
    /keys\.0\.functions\.0: must be a name/,
    (path) => write(path, changed({ functions: ['a/b'] })),
  ],
  ['has a short secret', /keys\.0\.secret: must be 32/, (path) => write(path, changed({ secret: 'abc' }))],
  ['has an unknown member', /is not right/, (path) => write(path, changed({ extra: 1 }))],
  ['has a key twice', /two keys "test"/, (path) => write(path, JSON.stringify({ version: 1, keys: [KEY, KEY] }))],
  ['is too large', /over the limit of 1048576/, (path) => write(path, GOOD.padEnd(1024 * 1024 + 1))],
];

function changed(members: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({ version: 1, keys: [{ ...KEY, ...members }] });
}

function write(path: string, text: string, mode = 0o600): void {
  writeFileSync(path, text);
  chmodSync(path, mode);
}

for (const [title, message, make] of BAD_FILES) {
  test(`keys: a file that ${title} is refused, and not touched`, async (t) => {
    const path = join(directoryFor(t), 'keys.json');
    make(path);
    for (const read of [
      () => readKeyFile(path),
      () => new WatchedKeys({ path, onChange: () => undefined, onProblem: () => undefined }),
    ]) {
      assert.throws(read, (error) => {
        assert.ok(error instanceof KeyFileError, String(error));
        assert.match(error.message, message);
        assert.ok(!error.message.includes(KEY.secret.slice(0, 20)), 'a secret is told');
        return true;
      });
    }
    const before = readdirSync(join(path, '..')).sort();
    await assert.rejects(addKey(path, { name: 'new', role: 'invoke', functions: ['*'] }), message);
    assert.deepEqual(readdirSync(join(path, '..')).sort(), before);
  });
}

test('keys: a file of another user is refused', { skip: process.geteuid?.() === 0 ? false : 'needs root' }, (t) => {
  const path = join(directoryFor(t), 'keys.json');
  write(path, GOOD);
  chownSync(path, 12_345, 12_345);
  assert.throws(() => readKeyFile(path), /belongs to user 12345, not to us/);
});

test('keys: those that run take what the file becomes, and lose nothing by what it cannot be', async (t) => {
  const path = join(directoryFor(t), 'keys.json');
  const changes: KeyChange[] = [];
  const problems: string[] = [];
  const watched = new WatchedKeys({
    path,
    onChange: (change) => changes.push(change),
    onProblem: (problem) => problems.push(problem),
    recheckMs: 0,
  });
  const names = (): string[] | null =>
    watched.current === null ? null : [...watched.current.values()].map(({ key }) => key.name);
  assert.equal(names(), null);
  const first = await addKey(path, { name: 'first', role: 'invoke', functions: ['*'] });
  assert.deepEqual(names(), ['first']);
  const second = await addKey(path, { name: 'second', role: 'admin', functions: ['*'] });
  assert.deepEqual(names(), ['first', 'second']);
  await removeKey(path, 'first');
  assert.deepEqual(names(), ['second']);
  assert.deepEqual(changes, [
    { added: [first], removed: [] },
    { added: [second], removed: [] },
    { added: [], removed: [first] },
  ]);
  const good = readFileSync(path);
  for (const [spoil, told] of [
    [() => rmSync(path), /is gone; restore it; until then the keys stay/],
    [() => write(path, '{'), /is not JSON/],
    [() => write(path, good.toString(), 0o644), /can be used by others/],
  ] as const) {
    spoil();
    assert.deepEqual(names(), ['second']);
    assert.deepEqual(names(), ['second']);
    assert.match(problems.at(-1) ?? '', told);
  }
  assert.equal(problems.length, 3);
  chmodSync(path, 0o600);
  assert.deepEqual(names(), ['second']);
  rmSync(path);
  await addKey(path, { name: 'third', role: 'admin', functions: ['*'] });
  assert.deepEqual(names(), ['third']);
});

test('keys: a first file that cannot be used closes the gateway, and does not leave it open', (t) => {
  const path = join(directoryFor(t), 'keys.json');
  const watched = new WatchedKeys({ path, onChange: () => undefined, onProblem: () => undefined, recheckMs: 0 });
  const count = (): number | null => watched.current?.size ?? null;
  assert.equal(count(), null);
  write(path, GOOD, 0o644);
  assert.equal(count(), 0);
  chmodSync(path, 0o600);
  assert.equal(count(), 1);
});

test('keys: patterns mean what they look like, and take no time', () => {
  for (const [pattern, name, means] of [
    ['*', 'a', true],
    ['*', '', true],
    ['a', 'a', true],
    ['a', 'ab', false],
    ['a*', 'a', true],
    ['a*', 'ba', false],
    ['*a', 'ba', true],
    ['*a', 'ab', false],
    ['a*b*c', 'a-b-b-c', true],
    ['a*b*c', 'a-c-b', false],
    ['a.c', 'abc', false],
    ['**', 'x', true],
    ['', '', true],
    ['', 'a', false],
    ['A', 'a', false],
  ] as const) {
    assert.equal(matchesPattern(pattern, name), means, `${pattern} ${name}`);
  }
  const before = process.cpuUsage();
  for (let i = 0; i < 1000; i += 1) assert.equal(matchesPattern(`${'*a'.repeat(63)}b`, 'a'.repeat(64)), false);
  const { user, system } = process.cpuUsage(before);
  assert.ok((user + system) / 1000 < 2000);
});

test('access: the docs have the table of operations', () => {
  const page = readFileSync(join(PROJECT_ROOT, 'docs/access.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `((?:lambda|logs|snapfaas):\w+)` *\| `(\w+)` *\| ([\w ]+?) *\|/gm)];
  const table = Object.fromEntries(rows.map(([, name = '', least, on]) => [name, { least, on }]));
  const ON = {
    function: 'the function',
    functions: 'all functions',
    layer: 'the layer',
    layers: 'all layers',
    host: 'the host',
  } as const;
  const expected = Object.entries(OPERATIONS).map(([name, { least, on }]) => [name, { least, on: ON[on] }]);
  assert.deepEqual(table, Object.fromEntries(expected));
});

test('audit log: each line is on its own, and goes on in a new file when the old one was moved away', (t) => {
  const directory = directoryFor(t);
  const path = join(directory, 'audit.jsonl');
  const otherwise: AuditLine[] = [];
  const log = new AuditLog(path, (line) => otherwise.push(line));
  log.write({ action: 'keys.add', by: 'root', key: { name: 'a\nb' } });
  log.write({ action: 'keys.remove', by: 'root' });
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as AuditLine).action),
    ['keys.add', 'keys.remove'],
  );
  assert.match((JSON.parse(lines[0] ?? '') as { time: string }).time, /^\d{4}-\d\d-\d\dT.*Z$/);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  execFileSync('mv', [path, `${path}.1`]);
  log.write({ action: 'keys.add', by: 'root' });
  assert.equal(readFileSync(path, 'utf8').trimEnd().split('\n').length, 1);
  assert.deepEqual(otherwise, []);
  rmSync(path);
  symlinkSync(join(directory, 'elsewhere'), path);
  log.write({ action: 'keys.add', by: 'root' });
  assert.match(String(otherwise[0]?.['auditProblem']), /cannot be written/);
});
