/** `snapctr init` and then `snapctr dev`, with each template: what somebody does who begins a function. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { TEMPLATE_NAMES, type TemplateName } from '../../src/client/templates.ts';
import { startProgram, type RunningProgram } from '../support/program.ts';
import { createWorkspace, run, SNAPCTR, startController, type RunningController } from '../support/snapctr.ts';

/** For each step, on two busy cores, in ms. */
const PATIENCE_MS = 120_000;

interface Case {
  /** What is changed, in the template's directory. */
  readonly file: string;
  /** What of it is in the function's answer. */
  readonly says: string;
  /** Why a version is refused whose file ends with an open parenthesis. */
  readonly why: RegExp;
}

const CASES: Readonly<Record<TemplateName, Case>> = {
  node: { file: 'index.mjs', says: 'Hello', why: /index\.mjs:\d+:\d+/ },
  python: { file: 'app.py', says: 'Hello', why: /SyntaxError/ },
  'typescript-web': { file: 'src/page.ts', says: 'Hello', why: /src\/page\.ts:\d+:\d+/ },
  streaming: { file: 'index.mjs', says: 'Nothing is said that was not said before', why: /index\.mjs:\d+:\d+/ },
};

const workspace = createWorkspace([]);
let controller: RunningController;

before(async () => {
  controller = await startController(workspace, {
    vmm: 'process',
    args: ['--data-dir', join(workspace.directory, 'kept')],
  });
});
after(async () => {
  await controller.stop();
  workspace.remove();
});

async function until(what: string, command: RunningProgram, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const told = (): string => `${what} has not come\n${command.stdout}${command.stderr}\n${controller.log.join('\n')}`;
  for (const deadline = performance.now() + PATIENCE_MS; !(await isSo()); await sleep(100)) {
    assert.ok(performance.now() < deadline, told());
  }
}

/** What the function answers to an event without members; a web app as to a request for its page. */
async function answerOf(name: string): Promise<string> {
  const answer = await fetch(`${controller.url}/2015-03-31/functions/${name}/invocations`, {
    method: 'POST',
    body: '{}',
  });
  return answer.text();
}

/** Processes that a command started, or itself. */
function processesOf(directory: string): readonly string[] {
  const name = `TMPDIR=${directory}`;
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(name);
    } catch {
      return false;
    }
  });
}

for (const template of TEMPLATE_NAMES) {
  test(`init ${template}, dev: each save is deployed, a broken one leaves the last good version, Ctrl-C leaves nothing`, async (t) => {
    const { file, says, why } = CASES[template];
    const place = join(workspace.directory, template);
    const made = await run(SNAPCTR, ['init', template, place], { workspace });
    assert.equal(made.status, 0, made.stderr);
    const path = join(place, file);
    const text = readFileSync(path, 'utf8');
    const save = (word: string, end = ''): void => writeFileSync(path, text.replaceAll(says, word) + end);

    const temporary = join(workspace.directory, `tmp-${template}`);
    mkdirSync(temporary);
    const env = { TMPDIR: temporary, XDG_CACHE_HOME: join(workspace.directory, 'cache') };
    const command = startProgram(SNAPCTR, ['dev', place, '--endpoint', controller.url], { workspace, env });
    t.after(() => command.kill('SIGKILL'));
    const ready = (): number => command.stdout.split(`${template} is ready: `).length - 1;

    await until('the first version', command, () => ready() === 1);
    assert.ok((await answerOf(template)).includes(says));
    if (template === 'typescript-web') {
      assert.match(command.stdout, / is ready: http:\/\/\w+\.lambda-url\.us-east-1\.localhost:\d+\/\n/);
      const page = await fetch(`${controller.url}/url/${template}/?name=Ada`);
      assert.match(await page.text(), /<h1>Hello, Ada!<\/h1>/);
    }

    save('Second');
    await until('the second version', command, async () => (await answerOf(template)).includes('Second'));
    await until('the word of it', command, () => ready() === 2);

    save('Broken', '\n(\n');
    const goesOn = 'what was deployed before goes on; save to try again\n';
    await until('the refusal', command, () => command.stderr.endsWith(goesOn));
    const refusal = command.stderr.slice(command.stderr.lastIndexOf('error: '));
    assert.match(refusal, why);
    assert.ok((await answerOf(template)).includes('Second'));

    save('Mended');
    await until('the mended version', command, async () => (await answerOf(template)).includes('Mended'));
    await until('the word of it', command, () => ready() === 3);

    command.kill('SIGINT');
    const { status } = await command.finished;
    assert.equal(status, 130);
    assert.deepEqual([processesOf(temporary), readdirSync(temporary)], [[], []]);
    assert.ok((await answerOf(template)).includes('Mended'));
  });
}
