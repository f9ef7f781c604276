/** What is read of a function's files, and what tools of the host say. */
import assert from 'node:assert/strict';
import { parsePackages } from '../../../src/images/app-debian.ts';
import { encodeCpio, type CpioEntry } from '../../../src/images/cpio.ts';
import { readAlternatives } from '../../../src/images/debian-links.ts';
import { parsePlan } from '../../../src/images/debian.ts';
import { elfFacts } from '../../../src/images/elf.ts';
import { readNpmProject } from '../../../src/images/npm-project.ts';
import { readRequirements } from '../../../src/images/requirements.ts';
import { decodeText } from '../../../src/images/text.ts';
import { TreeError } from '../../../src/images/tree.ts';
import { jsonText, outcomeOf, outcomeOfPromise, parsedJson } from '../properties.ts';
import type { Random } from '../random.ts';
import type { ParserTarget } from '../target.ts';

const NOT_THERE = Object.assign(new Error('no such file'), { code: 'ENOENT' });

/** A library for guests: a table of segments, a dynamic section, strings. */
function elf(random: Random): Buffer {
  const bytes = Buffer.alloc(64 + 2 * 56 + 5 * 16 + 64);
  bytes.write('\x7fELF\x02\x01\x01', 'latin1');
  bytes.writeUInt16LE(random.oneIn(8) ? random.below(300) : 62, 18);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(2, 56);
  const [table, dynamic, strings, base] = [64, 64 + 2 * 56, 64 + 2 * 56 + 5 * 16, 0x1000];
  const segment = (at: number, type: number, offset: number, size: number): void => {
    bytes.writeUInt32LE(type, at);
    bytes.writeBigUInt64LE(BigInt(offset), at + 8);
    bytes.writeBigUInt64LE(BigInt(base + offset), at + 16);
    bytes.writeBigUInt64LE(BigInt(size), at + 32);
  };
  segment(table, 1, 0, bytes.length);
  segment(table + 56, 2, dynamic, 5 * 16);
  const entries = [1, 1, 1, 5, 2, 5, 5, base + strings, 10, 64];
  entries[1] = 1 + random.below(8);
  entries.forEach((value, index) => bytes.writeBigUInt64LE(BigInt(value), dynamic + 8 * index));
  bytes.write('\0libc.so.6\0libm.so.6\0', strings, 'latin1');
  return bytes;
}

const ELF: ParserTarget = {
  name: 'elf',
  tokens: [
    '\x7fELF',
    '\xff\xff\xff\xff\xff\xff\xff\xff',
    '\xff\xff\xff\xff\xff\xff\xff\x7f',
    '\0\0\0\0\0\0\0\0',
    '\x05\0\0\0',
  ],
  generate: elf,
  async check(input, { isValid }) {
    let readBytes = 0;
    const facts = await elfFacts((position, bytes) => {
      readBytes += bytes;
      assert.ok(Number.isInteger(bytes) && bytes >= 0);
      const isThere = Number.isSafeInteger(position) && position >= 0 && position + bytes <= input.length;
      return Promise.resolve(isThere ? input.subarray(position, position + bytes) : null);
    });
    assert.ok(readBytes < 18 << 20, `${readBytes} bytes are read`);
    if (isValid) assert.ok(facts !== null);
    if (facts?.isForGuests !== true) return;
    assert.equal(facts.machine, 'x86-64');
    assert.ok(facts.needed.length <= input.length / 16);
  },
};

const REQUIREMENTS: ParserTarget = {
  name: 'requirements',
  tokens: [
    '\n',
    '\\\n',
    ' #',
    '-r requirements.txt',
    '-r a.txt',
    '--hash=sha256:ab',
    '>=1.0',
    '==',
    ';',
    '[a,b]',
    '(',
    ')',
    '../',
    '${X}',
    '--pre',
    ' ',
  ],
  generate: (random) =>
    Buffer.from(
      Array.from({ length: random.below(5) }, () =>
        random.pick([
          'requests',
          'requests >= 2.0, < 3 # as it is',
          'numpy==1.26.4 ; python_version < "3.12"',
          'a[b, c] (>=1.0,<2)',
          'pillow==10.0.0 --hash=sha256:00ff --hash=sha256:11ee',
          'long \\\n  >= 1.0',
          '--pre',
          '--require-hashes',
          '# nothing',
        ]),
      ).join('\n'),
    ),
  async check(input, { isValid }) {
    const outcome = await outcomeOfPromise([TreeError], () => readRequirements('/f', () => Promise.resolve(input)));
    if ('error' in outcome) return assert.ok(!isValid, outcome.error);
    const { requirements, constraints, names, flags } = outcome.value;
    // pip must not find an option, a path, an address or a variable in a line of its own.
    for (const line of [...requirements, ...constraints]) {
      assert.match(line, /^[A-Za-z0-9]/);
      const [requirement = ''] = line.split(/ --hash=/);
      assert.doesNotMatch(requirement.split(';')[0] ?? '', /[/\\$@\n\r]|:\/\//, line);
      assert.doesNotMatch(line.replaceAll('\t', ' '), /[$\p{Cc}\u2028\u2029]|\\$/u);
    }
    assert.equal(names.length, requirements.length);
    for (const name of names) assert.match(name, /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/);
    for (const flag of flags) assert.match(flag, /^--(pre|require-hashes)$/);
    const again = await readRequirements('/f', () => Promise.resolve(Buffer.from(requirements.join('\n'))));
    assert.deepEqual(again.requirements, requirements);
  },
};

const NPM_TOKENS = [
  '"packages":',
  '"dependencies":',
  '"overrides":',
  '"workspaces":',
  '"file:../x"',
  '"git+ssh://a/b"',
  '"http://a/b.tgz"',
  '"link":true',
  '"../"',
  '"node_modules/a"',
  'null',
  '"npm:b@1"',
  '"__proto__"',
];

const NPM: ParserTarget = {
  name: 'npm-project',
  tokens: NPM_TOKENS,
  generate: (random) => {
    const version = random.pick(['^1.2.0', 'npm:b@1', 'https://example.org/a.tgz', '*', 'latest']);
    const lock = {
      name: 'f',
      lockfileVersion: random.pick([1, 2, 3]),
      packages: {
        '': { dependencies: { a: version } },
        'node_modules/a': { version: '1.2.3', resolved: 'https://example.org/a.tgz', integrity: 'sha512-x' },
        'node_modules/@s/b': { resolved: 'local', link: true },
        local: { version: '1.0.0' },
      },
      dependencies: { a: { version: '1.2.3', requires: { b: '1' } } },
    };
    const manifest = { name: 'f', dependencies: { a: version }, overrides: { a: { b: '2' } }, workspaces: ['local'] };
    return Buffer.from(`${JSON.stringify(lock)}\n${JSON.stringify(manifest)}`);
  },
  async check(input, { isValid }) {
    const [lock = '', ...manifest] = input.toString('utf8').split('\n');
    const files = new Map([
      ['/f/package-lock.json', Buffer.from(lock)],
      ['/f/package.json', Buffer.from(manifest.join('\n'))],
    ]);
    const read = (path: string): Promise<Buffer> => {
      const bytes = files.get(path);
      return bytes === undefined ? Promise.reject(NOT_THERE) : Promise.resolve(bytes);
    };
    const outcome = await outcomeOfPromise([TreeError], () => readNpmProject('/f', read));
    if ('error' in outcome) return assert.ok(!isValid, outcome.error);
    const { texts, directories, archives } = outcome.value;
    for (const text of texts.values()) assert.ok(parsedJson(text) !== undefined);
    for (const path of [...directories, ...archives, ...texts.keys()]) {
      assert.ok(!path.startsWith('/') && !path.split('/').includes('..'), path);
    }
    for (const text of texts.values()) assert.doesNotMatch(text, /"scripts":/);
  },
};

const PLAN: ParserTarget = {
  name: 'apt-plan',
  tokens: ['Inst ', 'Conf ', ' (', ') []', '[amd64]', '\n', '[all]'],
  generate: (random) =>
    Buffer.from(
      Array.from({ length: random.below(4) }, () =>
        random.pick([
          'Inst libc6 (2.36-9 Debian:12.15/oldstable [amd64]) []',
          'Inst tzdata (2024a-0+deb12u1 Debian:12.15/oldstable, Debian-Security:12 [all])',
          'Conf libc6 (2.36-9 Debian:12.15/oldstable [amd64])',
          'Reading package lists...',
        ]),
      ).join('\n'),
    ),
  check(input) {
    const packages = parsePlan(input.toString('utf8'));
    assert.ok(packages.length <= input.length / 10);
    for (const { name, version, architecture } of packages) {
      for (const word of [name, version, architecture]) assert.match(word, /^\S+$/);
    }
  },
};

const PACKAGES: ParserTarget = {
  name: 'debian-packages',
  tokens: ['\n', '#', 'libc6', '=1.0', ':amd64', '/stable', '--', '\ufeff', '\xff\xfe'],
  generate: (random) =>
    Buffer.from(
      Array.from({ length: random.below(5) }, () =>
        random.pick(['jq', 'libvips42 # for images', '', '# none', 'g++']),
      ).join('\n'),
    ),
  check(input, { isValid }) {
    const outcome = outcomeOf([TreeError], () => parsePackages('/f/debian-packages.txt', input));
    if ('error' in outcome) return assert.ok(!isValid, outcome.error);
    for (const name of outcome.value) assert.match(name, /^[a-z0-9][a-z0-9+.-]+$/);
  },
};

const ALTERNATIVES: ParserTarget = {
  name: 'alternatives',
  tokens: [
    'update-alternatives --install',
    ' --slave ',
    '$a',
    '${a}',
    'for a in ',
    '; do',
    'a="',
    '"',
    "'",
    '\\\n',
    ' /usr/bin/a a /usr/bin/b 50',
    '\n',
  ],
  generate: (random) =>
    Buffer.from(
      Array.from({ length: random.below(5) }, () =>
        random.pick([
          'a="x y"',
          'for b in $a z; do',
          '  update-alternatives --install /usr/bin/$b $b /usr/bin/$b.real 50 --slave /usr/share/$b $b.1 /usr/share/$b.2',
          'update-alternatives --install /etc/a a /etc/b 1 \\\n --slave /etc/c c /etc/d',
          '# update-alternatives --install x y z 1',
          'done',
        ]),
      ).join('\n'),
    ),
  check(input) {
    for (const alternative of readAlternatives(input.toString('utf8'))) {
      for (const value of Object.values(alternative)) assert.notEqual(value, undefined);
    }
  },
};

const TEXT: ParserTarget = {
  name: 'text-file',
  tokens: ['\xff\xfe', '\xfe\xff', '\xef\xbb\xbf', '\r\n', '\r', '\n'],
  generate: (random) =>
    Buffer.from(`${random.pick(['', '\ufeff'])}${jsonText(random, 1)}\r\n`, random.pick(['utf8', 'utf16le'])),
  check(input) {
    const text = decodeText(input).replace(/^\ufeff+/, '');
    assert.ok(!text.includes('\r') && text.length <= input.length);
    assert.equal(decodeText(Buffer.from(text)), text);
  },
};

/** Reads what `encodeCpio` writes, as the kernel does. */
function decodeCpio(archive: Buffer): readonly { readonly path: string; readonly data: Buffer }[] {
  const found: { path: string; data: Buffer }[] = [];
  for (let at = 0; ;) {
    assert.equal(archive.toString('latin1', at, at + 6), '070701');
    const field = (index: number): number =>
      Number.parseInt(archive.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [bytes, nameBytes] = [field(6), field(11)];
    const path = archive.toString('utf8', at + 110, at + 110 + nameBytes - 1);
    if (path === 'TRAILER!!!') return found;
    const start = at + Math.ceil((110 + nameBytes) / 4) * 4;
    found.push({ path, data: archive.subarray(start, start + bytes) });
    at = start + Math.ceil(bytes / 4) * 4;
  }
}

const CPIO: ParserTarget = {
  name: 'cpio',
  tokens: ['/', '\n', 'init', 'modules'],
  generate: (random) =>
    Buffer.concat([Buffer.from(`${random.pick(['init', 'modules/virtio.ko'])}\n`), random.bytes(random.below(40))]),
  check(input) {
    // A path and its contents.
    const [name = ''] = input.toString('latin1').split('\n', 1);
    const path = `f${name.replace(/\0/g, '')}`;
    const data = input.subarray(Math.min(input.length, name.length + 1));
    const entries: CpioEntry[] = [
      { path, type: 'file', mode: 0o644, data },
      { path: 'a', type: 'directory', mode: 0o755 },
    ];
    const archive = encodeCpio(entries);
    assert.equal(archive.length % 512, 0);
    const found = decodeCpio(archive);
    assert.deepEqual(
      found.map((entry) => entry.path),
      ['a', path],
    );
    assert.ok(found[1]?.data.equals(data));
  },
};

export const IMAGES_TARGETS: readonly ParserTarget[] = [
  ELF,
  REQUIREMENTS,
  NPM,
  PLAN,
  PACKAGES,
  ALTERNATIVES,
  TEXT,
  CPIO,
];
