/**
 * A container image as AWS's own for Python are made: the client of the Runtime API is theirs, as PyPI has it, and reads nothing of
 * ours. Its outcomes beside those of our runtime for the same code.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fetchSet } from '../../src/images/app-pypi.ts';
import { resolvePython, unpackPython } from '../../src/images/debian-python.ts';
import { makeTar, writeLayout } from '../support/container-images.ts';
import { createWorkspace, startController, type RunningController, type Workspace } from '../support/snapctr.ts';

/** Newer ones may want a newer Python than the images have. */
const CLIENT = 'awslambdaric==4.2.2';

const CODE = `
import os
imported = 1
class Refused(Exception):
    pass
def handler(event, context):
    global imported
    if event == 'fail':
        raise Refused('as asked for')
    if event == 'set':
        return {1}
    if event == 'exit':
        os._exit(3)
    imported += 1
    return {
        'event': event,
        'imported': imported,
        'name': context.function_name,
        'memory': context.memory_limit_in_mb,
        'left': 0 < context.get_remaining_time_in_millis() <= 120000,
        'id': len(context.aws_request_id),
        'colour': os.environ['COLOUR'],
    }
`;

/** The interpreter and the standard library of Debian, and the client: one layer, without what only tests read. */
async function writePythonImage(directory: string, scratch: string): Promise<void> {
  const root = join(scratch, 'root');
  mkdirSync(root);
  const { unpacked } = await resolvePython();
  const program = await unpackPython(root, unpacked);
  const client = await fetchSet({ requirements: [CLIENT], constraints: [], names: ['awslambdaric'], flags: [] }, {});
  cpSync(client.directory, join(root, 'usr/local'), { recursive: true });
  const base = execFileSync('tar', ['-C', root, '--exclude=./usr/share/doc', '-cf', '-', '.'], { maxBuffer: 1 << 30 });
  const own = makeTar([{ path: 'var/task/app.py', content: CODE }]);
  writeLayout(directory, {
    layers: [base, own],
    config: {
      Entrypoint: [`/usr/bin/${program}`, '-m', 'awslambdaric'],
      Cmd: ['app.handler'],
      WorkingDir: '/var/task',
      Env: ['COLOUR=blue', 'LAMBDA_TASK_ROOT=/var/task'],
    },
  });
}

describe("AWS's own client of the Runtime API in an image, qemu", { timeout: 600_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace([
      {
        name: 'ours',
        runtime: 'python3',
        files: { 'app.py': CODE },
        keys: { handler: 'app.handler', timeout: 120 },
      },
    ]);
    const scratch = mkdtempSync(join(tmpdir(), 'snapfaas-python-image-'));
    try {
      await writePythonImage(join(workspace.directory, 'python'), scratch);
    } finally {
      rmSync(scratch, { recursive: true });
    }
    const list = join(workspace.directory, 'functions.yaml');
    const ours = `${readFileSync(list, 'utf8').trimEnd()}\n  environment: {COLOUR: blue}\n`;
    writeFileSync(list, `${ours}- {name: theirs, image: "oci:python", timeout: 120}\n`);
    controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
  });
  after(async () => {
    await controller.stop();
    workspace.remove();
  });

  test('it is restored, and answers as our runtime does', async () => {
    const answers = [];
    for (const name of ['theirs', 'ours']) {
      const { status, body, headers } = await controller.invoke(name, { n: [1, 'ä'] });
      assert.equal(headers.get('x-snapfaas-start'), 'restored');
      answers.push([status, { ...(body as object), name }]);
    }
    const body = { event: { n: [1, 'ä'] }, imported: 2, memory: '128', left: true, id: 36, colour: 'blue' };
    assert.deepEqual(answers, [
      [200, { ...body, name: 'theirs' }],
      [200, { ...body, name: 'ours' }],
    ]);
  });

  for (const event of ['fail', 'set', 'exit']) {
    test(`after "${event}" the client is told the same, and the next request is answered`, async () => {
      const [theirs, ours] = [await controller.invoke('theirs', event), await controller.invoke('ours', event)];
      assert.deepEqual([theirs.status, theirs.body], [ours.status, ours.body]);
      assert.equal((await controller.invoke('theirs', 1)).status, 200);
    });
  }
});
