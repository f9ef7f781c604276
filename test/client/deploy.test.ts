/** What `snapctr deploy` makes of directories, and asks a controller for. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { ClientError } from '../../src/client/client-error.ts';
import type { Deployed } from '../../src/client/deploy.ts';
import { deployDirectory, deployZip, type NamedSettings } from '../../src/client/deploy-path.ts';
import { LambdaClient } from '../../src/client/lambda-client.ts';
import { TreeError } from '../../src/images/tree.ts';
import { ControlApi } from '../support/control-api.ts';

const PROGRAM = "exports.handler = async () => 'one';\n";

describe('deploy', () => {
  let api: ControlApi;
  let root: string;
  let notes: string[] = [];

  before(async () => {
    api = await ControlApi.start();
    root = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
  });
  beforeEach(() => {
    api.functions.clear();
    api.seen.length = 0;
    api.failing = null;
    notes = [];
  });
  after(async () => {
    await api.close();
    rmSync(root, { recursive: true });
  });

  function directoryOf(files: Readonly<Record<string, string>>): string {
    const directory = mkdtempSync(join(root, 'fn-'));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), text);
    }
    return directory;
  }

  function client(): LambdaClient {
    return new LambdaClient({ endpoint: api.endpoint, token: 'id.secret' });
  }

  const options = {
    install: true,
    keepsVariables: true,
    patienceMs: 20_000,
    onProgress: () => undefined,
    onNote: (text: string) => void notes.push(text),
  };

  function deploy(files: Readonly<Record<string, string>>, settings: Partial<NamedSettings> = {}): Promise<Deployed> {
    return deployDirectory(client(), directoryOf(files), { name: 'fn', ...settings }, options);
  }

  /** Names in an archive, and the text of one. */
  function archived(name = 'fn'): { readonly names: readonly string[]; text(path: string): string } {
    const file = join(root, 'seen.zip');
    writeFileSync(file, api.zipOf(name));
    const script = 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); ';
    const python = (code: string): string => execFileSync('python3', ['-c', script + code, file], { encoding: 'utf8' });
    return {
      names: python("print('\\n'.join(z.namelist()))").trim().split('\n'),
      text: (path) => python(`print(z.read(${JSON.stringify(path)}).decode())`),
    };
  }

  test('a new function is created with what its files tell, and waited for', async () => {
    const { change, configuration } = await deploy({ 'index.js': PROGRAM });
    assert.equal(change, 'created');
    assert.equal(configuration.State, 'Active');
    const create = api.seen[1] ?? assert.fail('nothing was asked for');
    assert.deepEqual([create.method, create.path], ['POST', '/2015-03-31/functions']);
    assert.equal(create.headers.authorization, 'Bearer id.secret');
    assert.deepEqual(withoutCode(create.body), {
      FunctionName: 'fn',
      Role: 'arn:aws:iam::000000000000:role/snapfaas',
      Runtime: 'nodejs24.x',
      Handler: 'index.handler',
    });
    assert.equal(archived().text('index.js').trim(), PROGRAM.trim());
  });

  test('the same files are the same archive, whatever their times and order, and nothing is asked for', async () => {
    await deploy({ 'index.js': PROGRAM, 'a/b.txt': 'b' });
    const again = directoryOf({ 'a/b.txt': 'b', 'index.js': PROGRAM });
    utimesSync(join(again, 'index.js'), 1, 1);
    api.seen.length = 0;
    const { change } = await deployDirectory(client(), again, { name: 'fn' }, options);
    assert.equal(change, 'unchanged');
    assert.deepEqual(
      api.seen.map(({ method }) => method),
      ['GET'],
    );
  });

  test('of a function that is there, only what has changed is changed; what is not said stays', async () => {
    await deploy({ 'index.js': PROGRAM }, { memory: 256, environment: { A: '1' } });
    const changing = async (
      files: Readonly<Record<string, string>>,
      settings: Partial<NamedSettings>,
    ): Promise<string[]> => {
      api.seen.length = 0;
      await deploy(files, settings);
      return api.seen.filter(({ method }) => method === 'PUT').map(({ path }) => path.split('/').at(-1) ?? '');
    };
    assert.deepEqual(await changing({ 'index.js': `${PROGRAM}//` }, {}), ['code']);
    assert.deepEqual(await changing({ 'index.js': `${PROGRAM}//` }, { memory: 512 }), ['configuration']);
    assert.deepEqual(await changing({ 'index.js': PROGRAM }, { environment: { B: '2' } }), ['configuration', 'code']);
    const { Configuration } = await client().getFunction('fn');
    assert.equal(Configuration.MemorySize, 512);
    assert.deepEqual(Configuration.Environment?.Variables, { A: '1', B: '2' });
  });

  test('a handler that was chosen by hand stays, unless its file is gone', async () => {
    await deploy({ 'index.js': PROGRAM, 'other.js': PROGRAM }, { handler: 'other.handler' });
    assert.equal(
      (await deploy({ 'index.js': PROGRAM, 'other.js': `${PROGRAM}//` })).configuration.Handler,
      'other.handler',
    );
    assert.equal((await deploy({ 'index.js': PROGRAM })).configuration.Handler, 'index.handler');
  });

  test('a deployment that fails says why, and the next one is tried though its files are the same', async () => {
    await deploy({ 'index.js': PROGRAM });
    api.failing = 'the handler throws';
    const bad = { 'index.js': 'exports.handler = 1; throw 1;' };
    await assert.rejects(deploy(bad), { code: 'not_deployed', message: 'the handler throws', type: 'InternalError' });
    api.failing = null;
    assert.equal((await deploy(bad)).change, 'updated');
  });

  test('TypeScript is bundled into one file, with assets beside it', async () => {
    await deploy({
      'src/index.ts':
        "import { greet } from './greet';\nexport const handler = async (): Promise<string> => greet('you');",
      'src/greet.ts': "export const greet = (name: string): string => `hello ${name}${require('node:path').sep}`;",
      'src/page.html': '<p>',
      'tsconfig.json': '{}',
    });
    assert.deepEqual(archived().names, ['src/index.mjs', 'src/page.html']);
    const bundled = archived().text('src/index.mjs');
    writeFileSync(join(root, 'bundled.mjs'), bundled);
    const run = `import('${join(root, 'bundled.mjs')}').then(async (m) => console.log(await m.handler()))`;
    assert.equal(execFileSync(process.execPath, ['-e', run], { encoding: 'utf8' }).trim(), 'hello you/');
  });

  test('a bundle is for the version of Node that the function asks for, or has', async () => {
    // What there was in Node 20 first, in a later version of it.
    const source = "import * as x from 'snapfaas' with { type: 'y' };\nexport const handler = async () => x;";
    const isKept = (): boolean => archived().text('index.mjs').includes('with {');
    await deploy({ 'index.ts': source });
    assert.equal(isKept(), true);
    await deploy({ 'index.ts': source }, { runtime: 'nodejs20.x' });
    assert.equal(isKept(), false);
    await deploy({ 'index.ts': `${source}//` });
    assert.equal(isKept(), false, 'its runtime has stayed');
  });

  test('clients of the AWS SDK that the image has are left to it, unless the function brings them', async () => {
    await deploy({
      'index.ts': `import { S3Client } from '@aws-sdk/client-s3';
        import { SQSClient } from '@aws-sdk/client-sqs';
        export const handler = async (): Promise<unknown> => [S3Client, SQSClient];`,
      'node_modules/@aws-sdk/client-s3/index.js': 'exports.S3Client = "brought";',
    });
    assert.match(archived().text('index.mjs'), /"brought"/);
    assert.match(archived().text('index.mjs'), /from "@aws-sdk\/client-sqs"/);
    await assert.rejects(
      deploy({ 'index.ts': "import '@aws-sdk/client-of-nobody';\nexport const handler = async () => 1;" }),
      /Could not resolve "@aws-sdk\/client-of-nobody"/,
    );
  });

  test('a bundle that cannot be made names the place of each mistake', async () => {
    await assert.rejects(
      deploy({ 'index.ts': "import x from 'left-pad-nobody-has';\nexport const handler = async () => x;" }),
      (error: ClientError) =>
        error.code === 'bad_input' && /index\.ts:1:14/.test(error.message) && /npm install NAME/.test(error.message),
    );
  });

  test('a handler that is no JavaScript is told with its place, and not sent', async () => {
    await assert.rejects(
      deploy({ 'index.js': 'exports.handler = () => 1;\nconst x = ;' }),
      (error: ClientError) => error.code === 'bad_input' && /index\.js:2:10/.test(error.message),
    );
    assert.equal(api.functions.size, 0);
  });

  test('what is ignored stays at home; in node_modules only what is said of it', async () => {
    await deploy({
      'index.js': PROGRAM,
      '.git/config': '',
      'dist/old.js': '',
      'secret.pem': '',
      '.snapfaasignore': 'dist/\n*.pem\n',
      'node_modules/one/dist/index.js': '',
      'node_modules/one/cert.pem': '',
      'function.yaml': 'memory: 256\n',
    });
    assert.deepEqual(archived().names, ['index.js', 'node_modules/one/cert.pem', 'node_modules/one/dist/index.js']);
  });

  test('npm packages come as the lock file has them, and not as they lie there', async () => {
    const dependency = {
      'lib/package.json': '{"name":"lib","version":"1.0.0"}',
      'lib/index.js': 'module.exports = 1;',
    };
    await deploy({
      ...dependency,
      'index.js': PROGRAM,
      'node_modules/stale/index.js': '',
      'package.json': '{"dependencies":{"lib":"file:lib"}}',
      'package-lock.json': JSON.stringify({
        lockfileVersion: 3,
        packages: {
          '': { dependencies: { lib: 'file:lib' } },
          lib: { version: '1.0.0' },
          'node_modules/lib': { resolved: 'lib', link: true },
        },
      }),
    });
    const { names } = archived();
    assert.ok(names.includes('node_modules/lib') && !names.includes('node_modules/stale/index.js'), names.join());
  });

  test('links that stay inside are kept, others are refused', async () => {
    const directory = directoryOf({ 'index.js': PROGRAM });
    symlinkSync('index.js', join(directory, 'again.js'));
    await deployDirectory(client(), directory, { name: 'fn' }, options);
    assert.equal(archived().text('again.js').trim(), 'index.js');
    symlinkSync('/etc/passwd', join(directory, 'out'));
    await assert.rejects(deployDirectory(client(), directory, { name: 'fn' }, options), TreeError);
  });

  test('a package over 50 MB is refused before it is sent, with what to do', async () => {
    const directory = directoryOf({ 'index.js': PROGRAM });
    execFileSync('dd', ['if=/dev/urandom', `of=${join(directory, 'noise')}`, 'bs=1M', 'count=51', 'status=none']);
    await assert.rejects(deployDirectory(client(), directory, { name: 'fn' }, options), {
      code: 'bad_input',
      message: /larger than 50 MB, compressed; .*\.snapfaasignore/,
    });
    assert.deepEqual(
      api.seen.map(({ method }) => method),
      ['GET'],
    );
  });

  test('an archive is sent as it is; a new function needs to be told what it is', async () => {
    const zip = join(root, 'fn.zip');
    await deploy({ 'index.js': PROGRAM });
    writeFileSync(zip, api.zipOf('fn'));
    const settings = { name: 'other', runtime: 'python', handler: 'a.b' };
    assert.equal((await deployZip(client(), zip, settings, options)).configuration.Runtime, 'python3.11');
    assert.deepEqual(api.zipOf('other'), api.zipOf('fn'));
    await assert.rejects(deployZip(client(), zip, { name: 'third' }, options), /give --runtime and --handler/);
    writeFileSync(zip, 'no zip');
    await assert.rejects(deployZip(client(), zip, settings, options), /is no zip archive/);
  });

  test('classes of Java are sent as they lie there, with the handler that was named', async () => {
    const files = { 'example/Hello.class': 'class', 'lib/tool.jar': 'archive' };
    const { configuration } = await deploy(files, { handler: 'example.Hello::handleRequest' });
    assert.deepEqual([configuration.Runtime, configuration.Handler], ['java17', 'example.Hello::handleRequest']);
    for (const name of Object.keys(files)) assert.ok(archived().names.includes(name), archived().names.join());
    await assert.rejects(
      deploy({ 'pom.xml': '<project/>' }, { name: 'unbuilt', handler: 'example.Hello' }),
      /has no classes, and no lib\/\*\.jar with some; build it/,
    );
  });

  test('nothing is left in the directory for temporary files', () => {
    assert.deepEqual(
      readdirSync(tmpdir()).filter((name) => /^snapfaas-(package|contents|version)-/.test(name)),
      [],
    );
  });
});

function withoutCode(body: Readonly<Record<string, unknown>> = {}): object {
  return Object.fromEntries(Object.entries(body).filter(([key]) => key !== 'Code'));
}
