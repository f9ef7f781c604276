/** Container images of `examples/`, built by their scripts without Docker and deployed as their READMEs say. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { builtImage, whyWithoutImages } from '../support/example-images.ts';
import { EXAMPLES } from '../support/examples.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  run,
  SNAPCTR,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const PNG_SIGNATURE = '89504e470d0a1a0a';
/** In points, of 1/72 inch each. */
const PAGE = { width: 200, height: 100 };

const { payload } = JSON.parse(readFileSync(join(EXAMPLES, 'pdf-page/request.json'), 'utf8')) as {
  payload: { pdf: string };
};
const base64 = (text: string): string => Buffer.from(text).toString('base64');

for (const start of ['restored', 'cold'] as const) {
  describe(`pdf-page, ${start}`, { timeout: 600_000, skip: whyWithoutImages() }, () => {
    let workspace: Workspace;
    let controller: RunningController;

    before(async () => {
      const layout = await builtImage('pdf-page');
      workspace = createWorkspace([]);
      controller = await startController(workspace, { vmm: 'qemu', snapshots: start === 'restored' });
      const deployed = await run(SNAPCTR, [
        ...['deploy', '--image', `oci:${layout}:latest`, '--name', 'pdf-page', '--memory', '256', '--timeout', '60'],
        ...['--endpoint', controller.url],
      ]);
      assert.equal(deployed.status, 0, deployed.stderr);
      assert.match(deployed.stdout, /function:pdf-page/);
      await controller.until(({ snapshots }) => snapshots.preparing === 0, 120_000);
    });

    after(async () => {
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    const picture = async (event: unknown): Promise<{ readonly size: readonly number[]; readonly start: unknown }> => {
      const { status, text, body, headers } = await controller.invoke('pdf-page', event);
      assert.equal(status, 200, text);
      const { png, width, height } = body as { png: string; width: number; height: number };
      const bytes = Buffer.from(png, 'base64');
      assert.equal(bytes.subarray(0, 8).toString('hex'), PNG_SIGNATURE);
      // Width and height stand first in the IHDR chunk.
      assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [width, height]);
      return { size: [width, height], start: headers.get('x-snapfaas-start') };
    };

    test('the request of the example is answered with a picture of its page', async () => {
      assert.deepEqual(await picture(payload), { size: [PAGE.width, PAGE.height], start });
    });

    test('the picture is as large as the dpi say', async () => {
      const { size } = await picture({ ...payload, dpi: 144 });
      assert.deepEqual(size, [2 * PAGE.width, 2 * PAGE.height]);
      // By default a point is a pixel.
      assert.deepEqual((await picture({ pdf: payload.pdf })).size, [PAGE.width, PAGE.height]);
    });

    const refused: readonly (readonly [what: string, event: unknown, message: RegExp])[] = [
      ['an event without a PDF', {}, /^there is no "pdf" in the payload: send the file there, in base64$/],
      ['no event', null, /^there is no "pdf"/],
      ['what is not base64', { pdf: '%PDF-1.4' }, /^"pdf" is not base64: /],
      ['a file that is no PDF', { pdf: base64('GIF89a') }, /^"pdf" is not a PDF that can be drawn: Syntax /],
      ['a page that is not there', { ...payload, page: 2 }, /^the PDF has no page 2: .*last page \(1\)/],
      ['a page that cannot be', { ...payload, page: 0 }, /^"page" has to be a whole number from 1 /],
      ['too many dpi', { ...payload, dpi: 601 }, /^"dpi" has to be a whole number from 1 to 600$/],
    ];
    for (const [what, event, message] of refused) {
      test(`${what} is the function's error, which says what to change`, async () => {
        const error = errorOf(await controller.invoke('pdf-page', event));
        assert.deepEqual([error?.code, error?.type], ['function_error', 'BadRequest']);
        assert.match(error?.message ?? '', message);
      });
    }
  });
}
