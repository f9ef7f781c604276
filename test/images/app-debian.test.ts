import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, readlink, realpath, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { SYSTEM_FOLDER } from '../../src/images/app-debian.ts';
import { stageApp } from '../../src/images/app-stage.ts';
import { linkAlternatives, linkLibraries, readAlternatives } from '../../src/images/debian-links.ts';
import { describeUnmet, hasOwnScript } from '../../src/images/debian-scripts.ts';
import { resolvePython, unpackPython } from '../../src/images/debian-python.ts';
import { decodeText } from '../../src/images/text.ts';
import { buildNodeRuntime } from '../support/guest-process.ts';
import { makeApp, temporaryDirectory } from './temporary.ts';

describe('Debian packages of a function', () => {
  before(() => buildNodeRuntime());

  const refused: readonly (readonly [line: string, why: RegExp])[] = [
    ['python3-pil; rm', /"python3-pil; rm" is not the name of a Debian package/],
    ['Python3', /is not the name of a Debian package/],
    ['jq-', /"jq-" is not the name of a Debian package/],
    ['-o=Dir::Etc=/', /is not the name of a Debian package/],
    ['python3-pil=9.4', /versions cannot be chosen, apt takes its newest; write "python3-pil"/],
    ['ffmpeg/bookworm-backports', /versions cannot be chosen/],
    ['wine:i386', /guests are amd64 .*; write "wine"/],
  ];
  for (const [line, why] of refused) {
    test(`the line "${line}" is refused with its number`, async () => {
      const directory = await makeApp([['debian-packages.txt', `# images\n${line}\n`]]);
      const staging = stageApp(directory, { cacheDirectory: await temporaryDirectory() });
      await assert.rejects(
        staging,
        (error: Error) => /debian-packages\.txt:2: /.test(error.message) && why.test(error.message),
      );
    });
  }

  test('packages are those that the root file system of the version lacks', async () => {
    const directory = await makeApp([
      ['debian-packages.txt', 'curl\n'],
      ['app.py', ''],
    ]);
    const cacheDirectory = await temporaryDirectory();
    const [usual, own] = [
      await stageApp(directory, { cacheDirectory, runtime: 'python3' }),
      // As of an application on a port, whose language is not known.
      await stageApp(directory, { cacheDirectory, runtimefs: 'provided' }),
    ];
    assert.ok('curl' in usual.packages);
    assert.deepEqual(own.packages, {}, 'curl is in it');
    assert.notEqual(own.digest, usual.digest);
  });

  for (const [what, lines, why] of [
    ['does not exist', 'jq\njqq-of-nowhere\n', /: no Debian package is called "jqq-of-nowhere": correct the name/],
    ['would be a pattern for others', 'libjpeg62.turbo\n', /: no Debian package is called "libjpeg62.turbo": correct/],
    ['has no package of its own', 'awk\n', /"awk" names no package but what others provide: name one of these/],
  ] as const) {
    test(`a package that ${what} is named, and nothing else is said`, async () => {
      const directory = await makeApp([['debian-packages.txt', lines]]);
      const staging = stageApp(directory, { cacheDirectory: await temporaryDirectory() });
      await assert.rejects(
        staging,
        (error: Error) =>
          why.test(error.message) && /debian-packages\.txt/.test(error.message) && !/apt-get -s/.test(error.message),
      );
    });
  }

  test('they can be left out, with a note, in a stage of their own', async () => {
    const directory = await makeApp([['debian-packages.txt', 'python3-pil\n']]);
    const staged = await stageApp(directory, { cacheDirectory: await temporaryDirectory(), onHost: true });
    assert.deepEqual(staged.notes, ['Debian packages are left out (debian-packages.txt): python3-pil']);
    assert.deepEqual(await readdir(staged.directory), ['debian-packages.txt']);
  });

  test('a function that comes with its modules has them brought as well', async () => {
    const directory = await makeApp([
      ['debian-packages.txt', 'jq\n'],
      ['requirements.txt', 'left-out\n'],
      ['index.js', ''],
    ]);
    const options = { cacheDirectory: await temporaryDirectory(), isComplete: true, runtime: 'nodejs' } as const;
    const staged = await stageApp(directory, options);
    assert.ok('jq' in staged.packages);
    assert.ok(existsSync(join(staged.directory, SYSTEM_FOLDER, 'usr/bin/jq')));
    assert.deepEqual(staged.notes, []);
  });

  test('NumPy and Pillow work over the Python of the root file system, with their alternatives and data', async () => {
    const directory = await makeApp([
      ['debian-packages.txt', 'python3-numpy # numbers\npython3-pil\nfonts-dejavu-core\n'],
    ]);
    const staged = await stageApp(directory, { cacheDirectory: await temporaryDirectory() });
    assert.ok('python3-numpy' in staged.packages);
    assert.ok(!('libc6' in staged.packages), 'the root file system has it');
    assert.deepEqual(staged.notes, []);

    const root = await temporaryDirectory();
    const program = await unpackPython(root, (await resolvePython()).unpacked);
    await cp(join(staged.directory, SYSTEM_FOLDER), root, { recursive: true, verbatimSymlinks: true });
    const script = [
      'import io, numpy, PIL.Image, PIL.ImageFont',
      'print(float(numpy.linalg.inv(numpy.eye(3) * 2).sum()))',
      'for form in ("JPEG", "PNG"):',
      '    data = io.BytesIO()',
      '    PIL.Image.new("RGB", (64, 48), (255, 0, 0)).save(data, form)',
      '    picture = PIL.Image.open(io.BytesIO(data.getvalue()))',
      '    picture.thumbnail((32, 32))',
      '    print(form, picture.format, picture.size)',
      `print(PIL.ImageFont.truetype("${root}/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").getname())`,
      'print(PIL.Image.__cached__.endswith(".pyc"))',
    ].join('\n');
    const printed = execFileSync(
      join(root, 'usr/lib64/ld-linux-x86-64.so.2'),
      [
        '--library-path',
        join(root, 'usr/lib/x86_64-linux-gnu'),
        join(root, 'usr/bin', program),
        '-s',
        '-S',
        '-c',
        script,
      ],
      {
        encoding: 'utf8',
        env: { PYTHONHOME: join(root, 'usr'), PYTHONPATH: join(root, 'usr/lib/python3/dist-packages') },
      },
    );
    assert.equal(printed, "1.5\nJPEG JPEG (32, 24)\nPNG PNG (32, 24)\n('DejaVu Sans', 'Book')\nTrue\n");
  });
});

describe('what Debian does when it installs', () => {
  type Link = readonly [link: string, path: string, priority: number];
  const scripts: readonly (readonly [title: string, script: string, expected: readonly Link[]])[] = [
    [
      'continued lines',
      'update-alternatives --install /usr/lib/libblas.so.3 \\\n  libblas.so.3 \\\n  /usr/lib/blas/libblas.so.3 10\n',
      [['/usr/lib/libblas.so.3', '/usr/lib/blas/libblas.so.3', 10]],
    ],
    [
      'slaves',
      'if [ "$1" = configure ]; then\n  update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 --slave /usr/bin/nawk nawk /usr/bin/mawk\nfi',
      [
        ['/usr/bin/awk', '/usr/bin/mawk', 5],
        ['/usr/bin/nawk', '/usr/bin/mawk', 5],
      ],
    ],
    [
      'variables and loops over words',
      'base=/usr/lib/jvm/java-17\ntools="java keytool"\npriority=1711\nfor i in $tools; do\n' +
        '  update-alternatives --install /usr/bin/$i $i ${base}/bin/$i $priority\ndone',
      [
        ['/usr/bin/java', '/usr/lib/jvm/java-17/bin/java', 1711],
        ['/usr/bin/keytool', '/usr/lib/jvm/java-17/bin/keytool', 1711],
      ],
    ],
    ['a comment', '# update-alternatives --install /usr/bin/a a /usr/bin/b 1', []],
    ['what only the script knows', 'update-alternatives --install /usr/bin/a a $(which b) 1', []],
    ['an unknown variable', 'update-alternatives --install $LINK a /usr/bin/b 1', []],
    ['a removal', 'update-alternatives --remove awk /usr/bin/mawk', []],
  ];
  for (const [title, script, expected] of scripts) {
    test(`alternatives: ${title}`, () => {
      assert.deepEqual(
        readAlternatives(script).map(({ link, path, priority }) => [link, path, priority]),
        expected,
      );
    });
  }

  test('the alternative of the highest priority that is there is linked, and never outside', async () => {
    const root = await makeRoot(['usr/lib/blas/libblas.so.3', 'usr/lib/openblas/libblas.so.3']);
    const install = (path: string, priority: number): string =>
      `update-alternatives --install /usr/lib/libblas.so.3 blas ${path} ${priority}\n`;
    await linkAlternatives(root, [
      install('/usr/lib/blas/libblas.so.3', 10) + install('/lib/openblas/libblas.so.3', 100),
      install('/usr/lib/atlas/libblas.so.3', 1000),
      'update-alternatives --install /../../../evil evil /usr/lib/blas/libblas.so.3 1\n',
    ]);
    assert.equal(await readlink(join(root, 'usr/lib/libblas.so.3')), 'openblas/libblas.so.3');
    assert.equal(await readlink(join(root, 'evil')), 'usr/lib/blas/libblas.so.3');
  });

  test('libraries of a directory in ld.so.conf.d are linked where the dynamic linker looks by itself', async () => {
    const root = await makeRoot(['usr/lib/x86_64-linux-gnu/special/libspecial.so.1']);
    await mkdir(join(root, 'etc/ld.so.conf.d'), { recursive: true });
    await writeFile(join(root, 'etc/ld.so.conf.d/special.conf'), '# a comment\n/usr/lib/x86_64-linux-gnu/special\n');
    await linkLibraries(root);
    const link = join(root, 'usr/lib/x86_64-linux-gnu/libspecial.so.1');
    assert.equal(await realpath(link), await realpath(join(root, 'usr/lib/x86_64-linux-gnu/special/libspecial.so.1')));
  });

  const own: readonly (readonly [script: string, expected: boolean])[] = [
    ['', false],
    ['#!/bin/sh\nset -e\nupdate-alternatives --install /a \\\n a /b 1\nexit 0\n', false],
    [
      '#!/bin/sh\nset -e\n# Automatically added by dh_python3\npy3compile -p x\n# End automatically added section\n',
      false,
    ],
    ['#!/bin/sh\ncase "$1" in\n  configure)\n    ldconfig\n  ;;\n  *)\n    exit 1\n  ;;\nesac\n', false],
    ['#!/bin/sh\nset -e\nglib-compile-schemas /usr/share/glib-2.0/schemas\n', true],
    ['#!/bin/sh\nadduser --system redis\n', true],
  ];
  for (const [script, expected] of own) {
    test(`a script ${expected ? 'that does work of its own' : 'with nothing to do here'}: ${JSON.stringify(script)}`, () => {
      assert.equal(hasOwnScript(script), expected);
    });
  }

  test('services, modules of the kernel and scripts that were not run are told by package', () => {
    const notes = describeUnmet([
      { name: 'redis-server', script: '', files: ['usr/lib/systemd/system/redis.service', 'etc/init.d/redis'] },
      { name: 'wireguard-dkms', script: '', files: ['usr/src/wireguard-1/dkms.conf'] },
      { name: 'glib', script: 'glib-compile-schemas /x', files: ['usr/lib/libglib.so'] },
      { name: 'tzdata', script: 'ln -s /x /y', files: ['usr/share/zoneinfo/UTC'] },
      { name: 'libfine', script: '', files: ['lib/systemd/README'] },
    ]);
    assert.deepEqual(
      notes.map((note) => /^Debian package ([\w-]+): /.exec(note)?.[1]),
      ['wireguard-dkms', 'redis-server', 'glib'],
    );
  });

  test('text files are read as editors of all systems write them', () => {
    const text = 'python3-pil\n';
    const utf16 = Buffer.from(`\ufeff${text}`, 'utf16le');
    const forms = [
      Buffer.from(text),
      Buffer.from(`\ufeff${text}`),
      Buffer.from('python3-pil\r\n'),
      utf16,
      Buffer.from(utf16).swap16(),
    ];
    for (const form of forms) assert.equal(decodeText(form), text);
  });
});

async function makeRoot(paths: readonly string[]): Promise<string> {
  const root = await temporaryDirectory();
  for (const path of paths) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), path);
    assert.equal(await readFile(join(root, path), 'utf8'), path);
  }
  return root;
}
