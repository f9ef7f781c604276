import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { fetchArtifact, type Artifact } from '../../src/images/maven.ts';
import { endingTools, ToolError } from '../../src/images/tool.ts';

const ARCHIVE = Buffer.from('an archive');
const ARTIFACT: Artifact = {
  group: 'com/example',
  name: 'client',
  version: '1.2',
  sha256: createHash('sha256').update(ARCHIVE).digest('hex'),
};

/** @returns the paths that were asked for. */
async function repository(t: TestContext, answer: RequestListener): Promise<readonly string[]> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const before = process.env['SNAPFAAS_MAVEN_REPOSITORY'];
  process.env['SNAPFAAS_MAVEN_REPOSITORY'] = `http://127.0.0.1:${(server.address() as AddressInfo).port}/m2/`;
  t.after(() => {
    if (before === undefined) delete process.env['SNAPFAAS_MAVEN_REPOSITORY'];
    else process.env['SNAPFAAS_MAVEN_REPOSITORY'] = before;
    server.closeAllConnections();
    server.close();
  });
  return asked;
}

test('an archive comes from where Maven has it, after a failure as well', async (t) => {
  let count = 0;
  const asked = await repository(t, (_request, response) => {
    count += 1;
    response.writeHead(count === 1 ? 503 : 200).end(ARCHIVE);
  });
  assert.deepEqual(await fetchArtifact(ARTIFACT), ARCHIVE);
  assert.deepEqual(asked, Array(2).fill('/m2/com/example/client/1.2/client-1.2.jar'));
});

test('an archive that is another one, or is not there, is refused with its address', async (t) => {
  for (const [status, body, reason] of [
    [
      200,
      'another',
      new RegExp(`client-1\\.2\\.jar cannot be used: it has the SHA-256 [0-9a-f]{64}, not ${ARTIFACT.sha256}`),
    ],
    [404, '', /client-1\.2\.jar cannot be used: the repository answered 404; name another repository of Maven by/],
  ] as const) {
    await t.test(String(status), async (inner) => {
      const asked = await repository(inner, (_request, response) => void response.writeHead(status).end(body));
      await assert.rejects(
        fetchArtifact(ARTIFACT),
        (error) => error instanceof ToolError && reason.test(error.message),
      );
      assert.equal(asked.length, 3);
    });
  }
});

test('a download ends with the build that wants it', { timeout: 10_000 }, async (t) => {
  const controller = new AbortController();
  const reason = new Error('called off');
  const asked = await repository(t, () => controller.abort(reason));
  await assert.rejects(
    endingTools(controller.signal, () => fetchArtifact(ARTIFACT)),
    (error) => error === reason,
  );
  assert.equal(asked.length, 1);
});
