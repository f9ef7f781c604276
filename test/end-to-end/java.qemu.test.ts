/** Functions for `java17` in virtual machines: classes and archives, run by what the root file system of that version brings. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { whyWithoutLanguage } from '../support/languages.ts';
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
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init((KeyStore) null);
        Map<String, Object> answer = new HashMap<>();
        answer.put("major", Runtime.version().feature());
        answer.put("told", System.getenv("AWS_EXECUTION_ENV"));
        answer.put("authorities", ((X509TrustManager) trust.getTrustManagers()[0]).getAcceptedIssuers().length > 100);
        answer.put("draws", List.of(UUID.randomUUID().toString(), new SecureRandom().nextLong() + ""));
        answer.put("event", event);
        return answer;
    }
}
`;
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
  const classOf = (name: string): Buffer => readFileSync(join(classes, 'example', `${name}.class`));
  const archive = (): Buffer => makeZip([{ name: 'example/Hello.class', data: classOf('Hello') }]);

  before(async () => {
    workspace = createWorkspace([]);
    classes = join(workspace.directory, 'classes');
    mkdirSync(classes);
    for (const [name, source] of Object.entries({ Hello: HELLO, Server: SERVER })) {
      writeFileSync(join(classes, `${name}.java`), source);
      execFileSync('javac', ['--release', '17', '-d', classes, join(classes, `${name}.java`)]);
    }
    const filed = join(workspace.directory, 'apps', 'filed');
    mkdirSync(join(filed, 'lib'), { recursive: true });
    writeFileSync(join(filed, 'lib', 'hello.jar'), archive());
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

  const create = async (FunctionName: string, ZipFile: Buffer, Handler: string): Promise<void> => {
    const settings = { FunctionName, Runtime: 'java17', Role, Handler, MemorySize: 384, Timeout: 30 } as const;
    await client.send(new sdk.CreateFunctionCommand({ ...settings, Code: { ZipFile } }));
  };
  const active = (FunctionName: string): Promise<unknown> =>
    sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE, maxWaitTime: 400 }, { FunctionName });

  test('an archive of classes is a package: booted and restored, each VM with draws of its own', async () => {
    await create('hello', archive(), 'example.Hello::handleRequest');
    await active('hello');
    const { body, text } = await controller.invoke('hello', { name: 'Ada' });
    const { draws, ...rest } = body as { readonly draws: readonly string[] };
    assert.equal(draws.length, 2, text);
    assert.deepEqual(rest, { major: 17, told: 'AWS_Lambda_java17', authorities: true, event: { name: 'Ada' } });
    await controller.until(({ snapshots }) => snapshots.ready === 3, 300_000);
    const Environment = { Variables: { NAME: 'value' } };
    await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName: 'hello', Environment }));
    await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName: 'hello' });
    const answers = await Promise.all([1, 2, 3].map(() => controller.invoke('hello', { ms: 2500 })));
    for (const answer of answers) assert.equal(answer.headers.get('x-snapfaas-start'), 'restored', answer.text);
    const drawn = answers.flatMap((answer) => (answer.body as { readonly draws: readonly string[] }).draws);
    assert.equal(new Set(drawn).size, 3 * 2, JSON.stringify(drawn));
  });

  test('a class that is not there, or a method: its requests are told so, as on AWS', async () => {
    for (const [name, handler, message] of [
      ['no-class', 'example.Nothing::handleRequest', /^Class not found: example\.Nothing$/],
      ['no-method', 'example.Hello::nothing', /^No public method named nothing .* found on class example\.Hello/],
    ] as const) {
      await create(name, archive(), handler);
      await active(name);
      const answer = await controller.invoke(name, {});
      assert.equal(answer.status, 502, answer.text);
      assert.match(errorOf(answer)?.message ?? '', message);
    }
  });

  test('one of the YAML file has its classes in lib, and the name of its version', async () => {
    const { status, body, text } = await controller.invoke('filed', {});
    assert.equal(status, 200, text);
    assert.equal((body as { major: number }).major, 17);
    const { Configuration } = await client.send(new sdk.GetFunctionCommand({ FunctionName: 'filed' }));
    assert.equal(Configuration?.Runtime, 'java17');
  });

  test('an archive that listens on a port answers at its URL', async () => {
    const response = await fetch(`${controller.url}/url/web/a?b=c`);
    assert.equal(response.status, 200);
    assert.equal(await response.text(), 'Java 17 at /a?b=c');
  });

  test('snapctr deploys an archive, and a directory of classes', async () => {
    const file = join(workspace.directory, 'by-command.jar');
    writeFileSync(file, archive());
    const deploy = (place: string, ...flags: readonly string[]): string =>
      execFileSync(process.execPath, [SNAPCTR, 'deploy', place, '--endpoint', controller.url, ...flags], {
        cwd: PROJECT_ROOT,
        encoding: 'utf8',
      });
    const settings = ['--handler', 'example.Hello::handleRequest', '--memory', '384', '--timeout', '30'];
    deploy(file, '--runtime', 'java17', ...settings);
    assert.equal((await controller.invoke('by-command', {})).status, 200);
    rmSync(join(classes, 'Hello.java'));
    deploy(classes, '--name', 'by-directory', ...settings);
    assert.equal((await controller.invoke('by-directory', {})).status, 200);
  });
});
