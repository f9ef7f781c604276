/** Functions of `examples/`, configured as their READMEs say. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createWorkspace, PROJECT_ROOT, type Workspace } from './snapctr.ts';

export const EXAMPLES = join(PROJECT_ROOT, 'examples');

/** The entry that an example's README asks for. */
function entryOf(name: string): string {
  const readme = readFileSync(join(EXAMPLES, name, 'README.md'), 'utf8');
  return /```yaml\n(.*?)```/s.exec(readme)?.[1] ?? assert.fail(`the README of ${name} has no entry`);
}

export function exampleWorkspace(names: readonly string[]): Workspace {
  const workspace = createWorkspace([]);
  writeFileSync(join(workspace.directory, 'functions.yaml'), names.map(entryOf).join(''));
  const config = readFileSync(workspace.config, 'utf8');
  writeFileSync(workspace.config, config.replace(/^appfs_dir: .*$/m, `appfs_dir: ${EXAMPLES}`));
  return workspace;
}
