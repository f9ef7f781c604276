/** Functions for `java17` in virtual machines: classes and archives, run by what the root file system of that version brings. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { fetchArtifact, type Artifact } from '../../src/images/maven.ts';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { builtFunction, whyWithoutLanguage } from '../support/languages.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  PROJECT_ROOT,
  SNAPCTR,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { PATIENCE, Role } from './control.ts';

/** No interface of AWS's: a class of one's own with a method is a handler as well, and needs no archive to be compiled. */
const HELLO = `
package example;
import java.security.*;
import java.util.*;
import javax.net.ssl.*;
public class Hello {
    static { UUID.randomUUID(); }
    public Map<String, Object> handleRequest(Map<String, Object> event) throws Exception {
        Thread.sleep(((Number) event.getOrDefault("ms", 0)).longValue());
        Map<String, Object> answer = new HashMap<>();
        answer.put("major", Runtime.version().feature());
        answer.put("told", System.getenv("AWS_EXECUTION_ENV"));
        answer.put("authorities", event.containsKey("ms") ? 0 : authorities());
        answer.put("draws", List.of(UUID.randomUUID().toString(), new SecureRandom().nextLong() + ""));
        answer.put("event", event);
        return answer;
    }
    private static int authorities() throws Exception {
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init((KeyStore) null);
        return ((X509TrustManager) trust.getTrustManagers()[0]).getAcceptedIssuers().length;
    }
}
`;
/** In a layer, with hooks of the library that AWS's guide for snapshots names, under what its caller has set. */
const LAYERED = `
package example;
import java.util.*;
import org.crac.*;
public class Layered implements Resource {
    private final List<String> seen = new ArrayList<>();
    public Layered() { Core.getGlobalContext().register(this); }
    @Override public void beforeCheckpoint(Context<? extends Resource> context) { seen.add("before"); }
    @Override public void afterRestore(Context<? extends Resource> context) { seen.add("after"); }
    public Object handleRequest(Object event) {
        return List.of(seen, System.getProperty("asked", ""), System.getenv().getOrDefault("WRAPPED", ""));
    }
}
`;
const EXAMPLE = join(PROJECT_ROOT, 'examples', 'java-hello');
const WRAPPER = '#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n';
const CRAC: Artifact = {
  group: 'org/crac',
  name: 'crac',
  version: '1.5.0',
  sha256: 'f4426e1641c8f0fa2f025a4cd7c40c285abaf265930e6717adfcaef03d034850',
};
/** An application that listens, with nothing but what Java has. */
const SERVER = `
package example;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
public class Server {
    public static void main(String[] arguments) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))), 0);
        server.createContext("/", exchange -> {
            byte[] body = ("Java " + Runtime.version().feature() + " at " + exchange.getRequestURI()).getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
`;

describe('functions for java17', { timeout: 900_000, skip: whyWithoutLanguage('java') }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  let client: sdk.LambdaClient;
  let classes: string;
  let crac: Buffer;
  const classOf = (name: string): Buffer => readFileSync(join(classes, 'example', `${name}.class`));
  const archive = (): Buffer => makeZip([{ name: 'example/Hello.class', data: classOf('Hello') }]);

  before(async () => {
    workspace = createWorkspace([]);
    classes = join(workspace.directory, 'classes');
    mkdirSync(classes);
    crac = await fetchArtifact(CRAC);
    writeFileSync(join(workspace.directory, 'crac.jar'), crac);
    for (const [name, source] of Object.entries({ Hello: HELLO, Layered: LAYERED, Server: SERVER })) {
      writeFileSync(join(classes, `${name}.java`), source);
      execFileSync('javac', [
        '--release',
        '17',
        '-cp',
        join(workspace.directory, 'crac.jar'),
        '-d',
        classes,
        join(classes, `${name}.java`),
      ]);
    }
    const filed = join(workspace.directory, 'apps', 'filed');
    mkdirSync(join(filed, 'lib'), { recursive: true });
    for (const [name, data] of Object.entries(await builtFunction('java', EXAMPLE)))
      writeFileSync(join(filed, name), data);
    const web = join(workspace.directory, 'apps', 'web');
    mkdirSync(web);
    const manifest = 'Manifest-Version: 1.0\nMain-Class: example.Server\n';
    writeFileSync(
      join(web, 'app.jar'),
      makeZip([
        { name: 'META-INF/MANIFEST.MF', data: manifest },
        { name: 'example/Server.class', data: classOf('Server') },
      ]),
    );
    writeFileSync(
      join(workspace.directory, 'functions.yaml'),
      '- {name: filed, runtime: java17, appfs: filed, handler: "example.Hello::handleRequest", memory: 384, timeout: 30}\n' +
        '- {name: web, runtime: java17, appfs: web, web: {port: 8080}, memory: 384, timeout: 30, url: {auth: none}}\n',
    );
    controller = await startController(workspace, { vmm: 'qemu', snapshots: 'being made', memoryMib: 3072 });
    client = lambdaClient(controller.url);
  });

  after(async () => {
    client.destroy();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const create = async (
    FunctionName: string,
    ZipFile: Buffer,
    Handler: string,
    more: Partial<sdk.CreateFunctionRequest> = {},
  ): Promise<void> => {
    const settings = { FunctionName, Runtime: 'java17', Role, Handler, MemorySize: 384, Timeout: 30, ...more } as const;
    await client.send(new sdk.CreateFunctionCommand({ ...settings, Code: { ZipFile } }));
  };
  /** The same code with another configuration is another version of it, which begins with a restored VM. */
  const restoring = async (FunctionName: string, Variables: Readonly<Record<string, string>>): Promise<void> => {
    await controller.until(({ snapshots }) => snapshots.preparing === 0 && snapshots.ready > 0, 300_000);
    const Environment = { Variables: { ...Variables, NAME: 'value' } };
    await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Environment }));
    await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE, maxWaitTime: 400 }, { FunctionName });
  };
  const active = (FunctionName: string): Promise<unknown> =>
    sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE, maxWaitTime: 400 }, { FunctionName });

  test('an archive of classes is a package: booted and restored, each VM with draws of its own', async () => {
    await create('hello', archive(), 'example.Hello::handleRequest');
    await active('hello');
    const { body, text } = await controller.invoke('hello', { name: 'Ada' });
    const { draws, authorities, ...rest } = body as { readonly draws: readonly string[]; readonly authorities: number };
    assert.ok(authorities > 100, text);
    assert.equal(draws.length, 2, text);
    assert.deepEqual(rest, { major: 17, told: 'AWS_Lambda_java17', event: { name: 'Ada' } });
    await restoring('hello', {});
    const answers = await Promise.all([1, 2, 3].map(() => controller.invoke('hello', { ms: 2500 })));
    for (const answer of answers) assert.equal(answer.headers.get('x-snapfaas-start'), 'restored', answer.text);
    const drawn = answers.flatMap((answer) => (answer.body as { readonly draws: readonly string[] }).draws);
    assert.equal(new Set(drawn).size, 3 * 2, JSON.stringify(drawn));
  });

  test('archives of a layer, hooks of snapshots, options and a wrapper are as on AWS', async () => {
    const layered = makeZip([{ name: 'example/Layered.class', data: classOf('Layered') }]);
    const { LayerVersionArn = '' } = await client.send(
      new sdk.PublishLayerVersionCommand({
        LayerName: 'archives',
        Content: {
          ZipFile: makeZip([
            { name: 'java/lib/layered.jar', data: layered },
            { name: 'java/lib/crac.jar', data: crac },
            { name: 'wrapper', data: WRAPPER, mode: 0o100755 },
          ]),
        },
      }),
    );
    const Variables = { JAVA_TOOL_OPTIONS: '-Dasked=yes', AWS_LAMBDA_EXEC_WRAPPER: '/opt/wrapper' };
    const ZipFile = makeZip([{ name: 'README', data: 'all of it is in a layer' }]);
    await create('layered', ZipFile, 'example.Layered::handleRequest', {
      Layers: [LayerVersionArn],
      Environment: { Variables },
    });
    await active('layered');
    await restoring('layered', Variables);
    const restored = await controller.invoke('layered', {});
    assert.equal(restored.headers.get('x-snapfaas-start'), 'restored', restored.text);
    assert.deepEqual(restored.body, [['before', 'after'], 'yes', 'yes']);
  });

  test('a class that is not there: its requests are told so, as on AWS', async () => {
    await create('no-class', archive(), 'example.Nothing::handleRequest');
    await active('no-class');
    const answer = await controller.invoke('no-class', {});
    assert.equal(answer.status, 502, answer.text);
    assert.equal(errorOf(answer)?.message, 'Class not found: example.Nothing');
  });

  test('the example, as a function of the YAML file, has its classes in lib, and the name of its version', async () => {
    const request = JSON.parse(readFileSync(join(EXAMPLE, 'request.json'), 'utf8')) as { readonly payload: unknown };
    const answer = await controller.invoke('filed', request.payload);
    const id = answer.headers.get('x-snapfaas-request-id');
    assert.deepEqual([answer.status, answer.body], [200, { greeting: 'Hello, Ada', request: id }], answer.text);
    const failed = await controller.invoke('filed', {});
    assert.deepEqual([failed.status, errorOf(failed)?.type], [502, 'java.lang.IllegalArgumentException']);
    assert.match(errorOf(failed)?.message ?? '', /the event has no name/);
    const { Configuration } = await client.send(new sdk.GetFunctionCommand({ FunctionName: 'filed' }));
    assert.equal(Configuration?.Runtime, 'java17');
  });

  test('an archive that listens on a port answers at its URL', async () => {
    const response = await fetch(`${controller.url}/url/web/a?b=c`);
    assert.equal(response.status, 200);
    assert.equal(await response.text(), 'Java 17 at /a?b=c');
  });

  test('snapctr deploys an archive', async () => {
    const file = join(workspace.directory, 'by-command.jar');
    writeFileSync(file, archive());
    const settings = [
      '--runtime',
      'java17',
      '--handler',
      'example.Hello::handleRequest',
      '--memory',
      '384',
      '--timeout',
      '30',
    ];
    execFileSync(process.execPath, [SNAPCTR, 'deploy', file, '--endpoint', controller.url, ...settings], {
      cwd: PROJECT_ROOT,
      stdio: 'ignore',
    });
    const { status, text } = await controller.invoke('by-command', { ms: 0 });
    assert.equal(status, 200, text);
  });
});
