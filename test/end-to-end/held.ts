/** A function whose requests end when the test says so; only for `process`, where it sees the host's files. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { source } from '../support/functions.ts';
import type { TestFunction, Workspace } from '../support/snapctr.ts';

const SOURCE = `import os, time
def handle(request):
    while not os.path.exists(request['until']):
        time.sleep(0.01)
    return 'released'
`;

export function held(name: string, keys: Readonly<Record<string, string | number>> = {}): TestFunction {
  return source(name, 'python3', SOURCE, keys);
}

/** The payload that keeps a `held` function running until `release`. */
export function hold(workspace: Workspace): { readonly until: string } {
  return { until: join(workspace.directory, 'released') };
}

export function release(workspace: Workspace): void {
  writeFileSync(hold(workspace).until, '');
}
