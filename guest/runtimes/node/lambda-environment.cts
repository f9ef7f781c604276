/** What a function of Lambda's style finds around it: variables, module paths, the global `awslambda`. */
import { readRandom } from './generators.cjs';
import { HttpResponseStream, streamifyResponse } from './lambda-stream.cjs';
import { modulePlaces, searchNodePath } from './module-places.cjs';
import type { LoadRequest } from './protocol.cjs';
import { isoTime } from './originals.cjs';

/** The host knows all but what depends on the guest; the function's own variables come last, but for what AWS reserves. */
export function setEnvironment(request: LoadRequest): void {
  if (request.is_wrapped === true) return;
  const { root, environment } = request;
  const major = process.versions.node.split('.')[0] ?? '';
  const libraries = [root, `${root}/lib`, process.env['LD_LIBRARY_PATH']].filter(Boolean).join(':');
  Object.assign(
    process.env,
    {
      PWD: root,
      LD_LIBRARY_PATH: libraries,
      NODE_PATH: [...modulePlaces(root), `${root}/node_modules`, root].join(':'),
      AWS_LAMBDA_LOG_GROUP_NAME: request.log_group,
      _HANDLER: request.handler ?? 'workload.handle',
    },
    environment,
    {
      AWS_EXECUTION_ENV: `AWS_Lambda_nodejs${major}.x`,
      AWS_LAMBDA_INITIALIZATION_TYPE: request.initialization,
      LAMBDA_TASK_ROOT: root,
      LAMBDA_RUNTIME_DIR: __dirname,
    },
  );
  searchNodePath();
}

export function addGlobals(): void {
  const existing = (globalThis as { awslambda?: object }).awslambda;
  const awslambda = { ...existing, streamifyResponse, HttpResponseStream };
  Object.assign(globalThis, { awslambda });
}

const random = Buffer.allocUnsafeSlow(16);

/** A name that no other VM has, in Lambda's form: `2026/01/31/[$LATEST]` and 32 hex digits. */
export function makeLogStreamName(version: string): string {
  readRandom(random);
  const date = isoTime().slice(0, 10).replaceAll('-', '/');
  return `${date}/[${version}]${random.toString('hex')}`;
}
