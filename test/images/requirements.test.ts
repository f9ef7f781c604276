import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { readRequirements } from '../../src/images/requirements.ts';
import { TreeError } from '../../src/images/tree.ts';
import { makeApp } from './temporary.ts';

const HASH = `sha256:${'0a'.repeat(32)}`;

async function read(text: string): Promise<readonly string[]> {
  return (await readRequirements(await makeApp([['requirements.txt', text]]))).requirements;
}

describe('requirements.txt', () => {
  const accepted: readonly (readonly [text: string, lines: readonly string[]])[] = [
    ['', []],
    ['# nothing\n\n', []],
    ['requests\n', ['requests']],
    ['\ufeffrequests==2.31.0\r\nidna\r\n', ['requests==2.31.0', 'idna']],
    ['requests==2.31.0  # pinned\n', ['requests==2.31.0']],
    ['requests[socks,security] >= 2.8.1, == 2.8.*\n', ['requests[socks,security] >= 2.8.1, == 2.8.*']],
    ['zope.interface~=6.0\nPy_YAML===6.0+local\n', ['zope.interface~=6.0', 'Py_YAML===6.0+local']],
    ['numpy (>=1.20,<3)\n', ['numpy (>=1.20,<3)']],
    ['tomli; python_version < "3.11"\n', ['tomli; python_version < "3.11"']],
    [
      'pywin32==306 ; sys_platform == "win32" and extra == \'a/b\'\n',
      ['pywin32==306 ; sys_platform == "win32" and extra == \'a/b\''],
    ],
    [`idna==3.4 \\\n    --hash=${HASH} \\\n    --hash ${HASH}\n`, [`idna==3.4 --hash=${HASH} --hash=${HASH}`]],
    // The last line of a file is continued by nothing.
    ['idna==3.4 # as it is \\', ['idna==3.4']],
    ['--prefer-binary\n--only-binary :all:\nidna\n', ['idna']],
  ];
  for (const [text, lines] of accepted) {
    test(`accepted: ${JSON.stringify(text)}`, async () => assert.deepEqual(await read(text), lines));
  }

  const refused: readonly (readonly [line: string, why: RegExp])[] = [
    ['-e .', /is built from its sources/],
    ['-e git+https://example.com/x.git#egg=x', /is built from its sources/],
    ['--editable=./x', /is built from its sources/],
    ['git+https://example.com/x.git', /is built from its sources/],
    ['x @ git+ssh://git@example.com/x.git', /is built from its sources/],
    ['x @ file:///home/me/x', /names an address/],
    ['x@https://example.com/x-1.0-py3-none-any.whl', /names an address/],
    ['https://example.com/x.tar.gz', /names an address/],
    ['file:x.tar.gz', /names a file|no requirement/],
    ['./x', /names a file/],
    ['../x', /names a file/],
    ['/etc/passwd', /names a file/],
    ['x/y', /names a file/],
    ['x-1.0-py3-none-any.whl', /names a file/],
    ['x-1.0.tar.gz', /names a file/],
    ['x.zip', /names a file/],
    ['.', /names a file/],
    ['-i https://example.com/simple', /names another index/],
    ['--index-url=https://example.com/simple', /names another index/],
    ['--extra-index-url https://example.com/simple', /names another index/],
    ['-f https://example.com', /names another index/],
    ['--find-links ./wheels', /names another index/],
    ['--trusted-host example.com', /names another index/],
    ['--no-index', /names another index/],
    ['--no-binary :all:', /for building from sources/],
    ['x==1 --global-option="--evil"', /no requirement|option/],
    ['x==1 --config-settings=a=b', /no requirement|option/],
    ['x==${SECRET}', /names a variable/],
    ['x; platform_version == "${SECRET}"', /names a variable/],
    ['$SECRET', /names a variable/],
    ['--log=/etc/x', /an option that is not known here/],
    ['x;@', /a condition .* that is none/],
    ['x; https://example.com/x.tar.gz', /a condition .* that is none/],
    ['x; -e git+https://example.com/x.git', /is built from its sources/],
    ['x; python_version > "3" --index-url=https://example.com', /a condition .* that is none/],
    ['x; python_version > "3 --config-settings=a=b"', /a condition .* that is none/],
    ['x=1', /no requirement/],
    ['x y', /no requirement/],
  ];
  for (const [line, why] of refused) {
    test(`refused with its line: ${line}`, async () => {
      await assert.rejects(
        read(`idna\n\n${line}\n`),
        (error: Error) =>
          error instanceof TreeError && /requirements\.txt:3: /.test(error.message) && why.test(error.message),
      );
    });
  }

  test('other files of the directory may be named, each is read once', async () => {
    const directory = await makeApp([
      ['requirements.txt', '-r requirements/base.txt\n--constraint constraints.txt\n--pre\nidna\n'],
      ['requirements/base.txt', '-r more.txt\n-r ../requirements.txt\nrequests\n'],
      ['requirements/more.txt', 'urllib3\n'],
      ['constraints.txt', 'urllib3<3\n'],
    ]);
    assert.deepEqual(await readRequirements(directory), {
      requirements: ['urllib3', 'requests', 'idna'],
      constraints: ['urllib3<3'],
      names: ['urllib3', 'requests', 'idna'],
      flags: ['--pre'],
    });
  });

  for (const path of [
    '../other.txt',
    '/etc/passwd',
    'a/../../b.txt',
    'https://example.com/r.txt',
    '~/x.txt',
    '${HOME}/x',
  ]) {
    test(`a file outside of the directory is not read: ${path}`, async () => {
      await assert.rejects(read(`-r ${path}\n`), TreeError);
    });
  }

  test('whatever is written there, pip gets nothing but names, versions, markers and hashes', async () => {
    const piece = fc.constantFrom(
      'x',
      '==1',
      ' ',
      ';',
      '-e',
      '--hash=',
      HASH,
      '/',
      '@',
      '$',
      '{A}',
      'git+',
      ':',
      '"',
      '#',
      '\\\n',
      '\n',
      '..',
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
        const lines = await read(pieces.join('')).catch((error: unknown) => {
          assert.ok(error instanceof TreeError);
          return [];
        });
        for (const line of lines) {
          assert.match(line, /^[A-Za-z0-9][A-Za-z0-9._-]*[^$\n]*$/);
          const withoutHashes = line.replaceAll(/ --hash=sha256:[0-9a-f]{64}/g, '');
          assert.doesNotMatch(withoutHashes, /\s-/);
          // Text in quotes is compared, and nothing else.
          assert.doesNotMatch(withoutHashes.replaceAll(/"[^"]*"/g, ''), /[/:$@]|--/);
        }
      }),
      { numRuns: 1000 },
    );
  });

  for (const end of ['\v', '\f', '\x1c', '\x85', '\u2028', '\u2029']) {
    test(`what Python takes for the end of a line hides no option: ${JSON.stringify(end)}`, async () => {
      const text = `idna; python_version > "3"${end}--index-url=https://example.org`;
      await assert.rejects(read(text), /ends or continues a line for pip/);
    });
  }

  test('a backslash before blanks that are cut off does not continue the line for pip', async () => {
    await assert.rejects(read('idna; python_version > "3" \\\v\n'), /ends or continues a line for pip/);
  });
});
