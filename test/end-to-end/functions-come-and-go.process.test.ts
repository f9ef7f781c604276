import assert from 'node:assert/strict';
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createWorkspace, startController } from '../support/snapctr.ts';
import { functionsComeAndGo } from './functions-come-and-go.ts';

functionsComeAndGo('process');

test('with --watch a saved file is read by itself', async () => {
  const code = (text: string): string => `def handle(request):\n    return "${text}"\n`;
  const workspace = createWorkspace([{ name: 'f', runtime: 'python3', files: { 'workload.py': code('old') } }]);
  const controller = await startController(workspace, { vmm: 'process', args: ['--watch'] });
  try {
    const until = async (name: string, text: string): Promise<void> => {
      const deadline = Date.now() + 30_000;
      while ((await controller.invoke(name, {})).text !== JSON.stringify(text)) {
        assert.ok(Date.now() < deadline, `${name} answers ${text}: ${controller.log.slice(-5).join('\n')}`);
        await sleep(20);
      }
    };
    await until('f', 'old');
    writeFileSync(join(workspace.directory, 'apps/f/workload.py'), code('new'));
    await until('f', 'new');
    appendFileSync(join(workspace.directory, 'functions.yaml'), '- {name: g, runtime: python3, appfs: f}\n');
    await until('g', 'new');
    writeFileSync(join(workspace.directory, 'apps/f/workload.py'), code('newer'));
    await Promise.all([until('f', 'newer'), until('g', 'newer')]);
  } finally {
    assert.equal(await controller.stop(), 0);
    workspace.remove();
  }
});
