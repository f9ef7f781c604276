/** Functions that are container images, in real VMs: from an OCI layout, an archive and a registry. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import {
  CreateFunctionCommand,
  GetFunctionCommand,
  UpdateFunctionCodeCommand,
  waitUntilFunctionActiveV2,
} from '@aws-sdk/client-lambda';
import { lambdaClient } from '../support/lambda-client.ts';
import { makeTar, writeDockerArchive, writeLayout, type TestImage } from '../support/container-images.ts';
import { TestRegistry } from '../support/registry.ts';
import {
  createWorkspace,
  errorOf,
  PROJECT_ROOT,
  SNAPCTR,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { whyWithout } from '../support/needed-program.ts';

const BUSYBOX = '/usr/bin/busybox';
const noBusybox = whyWithout(BUSYBOX, 'busybox-static');
const noMusl = whyWithout('musl-gcc', 'musl-tools');
/** What starts programs that are linked with musl, and musl itself. */
const MUSL_LOADER = '/lib/ld-musl-x86_64.so.1';
const BOOTSTRAP = join(PROJECT_ROOT, 'test/fixtures/container/bootstrap.c');

/** A shell and nothing else speaks the Runtime API. */
const SHELL = `#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  event=$(wget -q -S -O - "$api/next" 2>/tmp/head)
  id=$(sed -n 's/^ *[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: *//p' /tmp/head | tr -d '\\r')
  wget -q -O /dev/null --post-data "{\\"event\\":$event,\\"handler\\":\\"$_HANDLER\\",\\"who\\":\\"$(whoami)\\"}" "$api/$id/response"
done
`;

function shellImage(): TestImage {
  const links = ['sh', 'wget', 'sed', 'tr', 'whoami'].map((name) => ({
    path: `bin/${name}`,
    type: '2',
    target: 'busybox',
  }));
  return {
    layers: [
      makeTar([
        { path: 'bin/busybox', content: readFileSync(BUSYBOX), mode: 0o755 },
        ...links,
        { path: 'secret', content: 'x' },
      ]),
      makeTar([
        { path: '.wh.secret' },
        { path: 'etc/passwd', content: 'root:x:0:0::/:/bin/sh\nada:x:77:77::/:/bin/sh\n' },
        { path: 'entry.sh', content: SHELL, mode: 0o700, uid: 77, gid: 77 },
      ]),
    ],
    config: { Entrypoint: ['/entry.sh'], Cmd: ['app.handler'], Env: ['PATH=/bin'], User: 'ada' },
  };
}

describe('container images, qemu', { timeout: 900_000 }, () => {
  let workspace: Workspace;
  let registry: TestRegistry;
  let controller: RunningController;
  before(async () => {
    workspace = createWorkspace([]);
    registry = await TestRegistry.start();
    const program = join(workspace.directory, 'bootstrap');
    execFileSync('gcc', ['-static', '-O2', '-o', program, BOOTSTRAP]);
    const scratch: TestImage = {
      layers: [makeTar([{ path: 'bootstrap', content: readFileSync(program), mode: 0o755 }])],
      config: { Entrypoint: ['/bootstrap'], Cmd: ['from-image'], Env: ['COLOR=blue'], WorkingDir: '/work' },
    };
    registry.push('tools/scratch', 'v1', scratch);
    writeDockerArchive(join(workspace.directory, 'broken.tar'), { ...scratch, config: { Entrypoint: ['/none'] } });
    if (noBusybox === false) writeLayout(join(workspace.directory, 'shell'), shellImage());
    if (noMusl === false) {
      execFileSync('musl-gcc', ['-O2', '-o', program, BOOTSTRAP]);
      const musl = [
        { path: MUSL_LOADER.slice(1), content: readFileSync(MUSL_LOADER), mode: 0o755 },
        { path: 'app/bootstrap', content: readFileSync(program), mode: 0o755 },
      ];
      const config = { Entrypoint: ['/app/bootstrap', 'of-musl'], WorkingDir: '/app' };
      writeLayout(join(workspace.directory, 'musl'), { layers: musl.map((file) => makeTar([file])), config });
    }
    writeFileSync(
      join(workspace.directory, 'functions.yaml'),
      [
        `- {name: scratch, image: "${registry.host}/tools/scratch:v1", environment: {OWN: mine}, timeout: 120}`,
        `- {name: override, image: "${registry.host}/tools/scratch:v1", timeout: 120, image_config: {command: [other], working_directory: /tmp}}`,
        '- {name: broken, image: "docker-archive:broken.tar", timeout: 120}',
        ...(noMusl === false ? ['- {name: musl, image: "oci:musl", timeout: 120}'] : []),
        ...(noBusybox === false ? ['- {name: shell, image: "oci:shell", timeout: 120}'] : []),
        '',
      ].join('\n'),
    );
    controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
  });
  after(async () => {
    await controller.stop();
    await registry.close();
    workspace.remove();
  });

  test('an image of one static program, from a registry, runs restored, as nobody special and on a root that is only read', async () => {
    const { status, body, headers } = await controller.invoke('scratch', { n: 1 });
    assert.deepEqual(
      [status, body],
      [
        200,
        {
          event: { n: 1 },
          argument: 'from-image',
          uid: 1000,
          here: '/work',
          color: 'blue',
          own: 'mine',
          root: (body as { root: string }).root,
          writes: { tmp: 1, root: 0 },
        },
      ],
    );
    assert.equal(headers.get('x-snapfaas-start'), 'restored');
    const names = (body as { root: string }).root.trim().split(' ').sort();
    assert.deepEqual(
      names,
      ['bootstrap', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp', 'work'],
      'nothing of another root is seen',
    );
  });

  test("a function's own command and directory take the place of the image's", async () => {
    const { body } = await controller.invoke('override', null);
    assert.deepEqual([(body as { argument: string }).argument, (body as { here: string }).here], ['other', '/tmp']);
  });

  test('an image with a shell runs as its own user, of whom the function has the files', async (t) => {
    if (noBusybox !== false) return t.skip(noBusybox);
    const { status, body } = await controller.invoke('shell', { name: 'Ada' });
    assert.deepEqual([status, body], [200, { event: { name: 'Ada' }, handler: 'app.handler', who: 'ada' }]);
  });

  test('a program that is linked with musl runs, with nothing of glibc around it', async (t) => {
    if (noMusl !== false) return t.skip(noMusl);
    const { status, body, headers } = await controller.invoke('musl', { n: 2 });
    const { event, argument, here, root } = body as Readonly<Record<string, unknown>>;
    assert.deepEqual([status, event, argument, here], [200, { n: 2 }, 'of-musl', '/app']);
    assert.equal(headers.get('x-snapfaas-start'), 'restored');
    assert.match(String(root), /\blib\b/);
    assert.doesNotMatch(String(root), /lib64|usr/);
  });

  test('an entry point that is not there is told by its name, with what to change', async () => {
    const answer = await controller.invoke('broken', {});
    const error = errorOf(answer);
    assert.equal(error?.code, 'function_error');
    assert.match(error.message, /fork\/exec \/none: No such file or directory; correct ENTRYPOINT or CMD/);
  });

  test('the API and the command make functions of images, and tell what they are', async () => {
    const client = lambdaClient(controller.url);
    const uri = `${registry.host}/tools/scratch:v1`;
    const code = { ImageUri: uri };
    const role = 'arn:aws:iam::000000000000:role/any';
    const settings = { FunctionName: 'made', PackageType: 'Image', Role: role, Timeout: 120 } as const;
    const made = await client.send(
      new CreateFunctionCommand({ ...settings, Code: code, ImageConfig: { Command: ['api'] } }),
    );
    assert.deepEqual([made.PackageType, made.Runtime, made.Handler, made.CodeSize], ['Image', undefined, undefined, 0]);
    assert.deepEqual(made.ImageConfigResponse?.ImageConfig, { Command: ['api'] });
    await waitUntilFunctionActiveV2({ client, maxWaitTime: 300 }, { FunctionName: 'made' });
    const { body } = await controller.invoke('made', 1);
    assert.equal((body as { argument: string }).argument, 'api');
    const { Code } = await client.send(new GetFunctionCommand({ FunctionName: 'made' }));
    const resolved = `${registry.host}/tools/scratch@sha256:${made.CodeSha256 ?? ''}`;
    assert.deepEqual(Code, { RepositoryType: 'ECR', ImageUri: uri, ResolvedImageUri: resolved });
    const refused: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
      [
        () =>
          client.send(new CreateFunctionCommand({ ...settings, FunctionName: 'x', Code: { ImageUri: `${uri}-none` } })),
        /does not have that image/,
      ],
      [
        () =>
          client.send(
            new CreateFunctionCommand({ ...settings, FunctionName: 'x', Code: { ImageUri: 'oci:relative' } }),
          ),
        /has to be absolute/,
      ],
      [
        () => client.send(new CreateFunctionCommand({ ...settings, FunctionName: 'x', Code: code, Handler: 'a.b' })),
        /don't provide handler/,
      ],
      [
        () => client.send(new UpdateFunctionCodeCommand({ FunctionName: 'made', ZipFile: Buffer.from('PK') })),
        /provide ImageUri|zip/i,
      ],
    ];
    for (const [call, message] of refused) await assert.rejects(call(), message);
    const argv = [
      SNAPCTR,
      'deploy',
      '--image',
      uri,
      '--name',
      'deployed',
      '--timeout',
      '120',
      '--endpoint',
      controller.url,
    ];
    const { stdout } = await promisify(execFile)(process.execPath, argv);
    assert.match(stdout, /function:deployed/);
    assert.equal(((await controller.invoke('deployed', 2)).body as { argument: string }).argument, 'from-image');
  });
});
