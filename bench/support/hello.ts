/** The functions that are measured, each with a way to run it once without SnapFaaS. */
import type { TestFunction } from '../../test/support/snapctr.ts';

export interface Measured {
  readonly runtime: 'python3' | 'nodejs';
  /** Files of the function by name. */
  readonly files: Readonly<Record<string, string>>;
  /** A program of its root file system that calls the handler once with the event of its last argument. */
  readonly once: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

export const EVENT = { name: 'Ada' };
export const EXPECTED = { message: 'Hello, Ada!' };

/** An event that ends the runtime, and so the VM. */
export const EXIT_EVENT = { name: 'exit' };

const ONCE = {
  python3: [
    '/usr/bin/python3',
    '-c',
    'import json, sys; sys.path[:0] = ["/srv", "/srv/package", "/srv/lib"]; import workload; ' +
      'print(json.dumps(workload.handle(json.loads(sys.argv[1]))))',
  ],
  nodejs: [
    '/usr/bin/node',
    '-e',
    'require("/srv/workload").handle(JSON.parse(process.argv[1])).then((r) => console.log(JSON.stringify(r)))',
  ],
} as const;

const ENVIRONMENT = { PATH: '/usr/bin', HOME: '/tmp', LANG: 'C.UTF-8', LD_LIBRARY_PATH: '/srv/lib' };

function measured(runtime: Measured['runtime'], files: Readonly<Record<string, string>>): Measured {
  return { runtime, files, once: ONCE[runtime], environment: ENVIRONMENT };
}

const PYTHON_HANDLER = `
def handle(request):
    if request['name'] == 'exit':
        import os
        os._exit(0)
    return {'message': 'Hello, ' + request['name'] + '!'}
`;

const NODE_HANDLER = `
exports.handle = async (request) => {
  if (request.name === 'exit') process.exit(0);
  return { message: 'Hello, ' + request.name + '!' };
};
`;

export const HELLO = {
  python3: measured('python3', { 'workload.py': PYTHON_HANDLER }),
  nodejs: measured('nodejs', { 'workload.js': NODE_HANDLER }),
} as const;

/** The same handlers behind imports that take most of a start. */
export const HEAVY = {
  python3: measured('python3', {
    'workload.py': `import numpy, PIL.Image, PIL.ImageFilter\n${PYTHON_HANDLER}`,
    'debian-packages.txt': 'python3-numpy\npython3-pil\n',
  }),
  nodejs: measured('nodejs', {
    'workload.js': `const { LambdaClient } = require('@aws-sdk/client-lambda');\nnew LambdaClient({ region: 'eu-west-1' });\n${NODE_HANDLER}`,
    'package.json': '{"dependencies":{"@aws-sdk/client-lambda":"^3.0.0"}}\n',
  }),
} as const;

export function testFunction(name: string, { runtime, files }: Measured, memory = 128): TestFunction {
  return { name, runtime, files, keys: { memory } };
}
