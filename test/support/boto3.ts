/** A Python that has boto3, AWS's SDK for Python: one of this host, else wheels that pip fetches once into the tests' cache. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fetchSet, modulesOf } from '../../src/images/app-pypi.ts';
import { guestPython } from '../../src/images/guest-python.ts';
import { messageOf } from '../../src/protocol/errors.ts';
import { TEST_CACHE } from './snapctr.ts';

/** The first that knows InvokeWithResponseStream. */
const LINE = 'boto3>=1.26.110';
const LOOK = `import boto3; boto3.Session(region_name="us-east-1").client("lambda", aws_access_key_id="x",
    aws_secret_access_key="x").invoke_with_response_stream`;

export interface PythonWithBoto3 {
  readonly program: string;
  /** On top of this process's own. */
  readonly env: NodeJS.ProcessEnv;
}

/** @returns in words why there is none. */
export async function pythonWithBoto3(): Promise<PythonWithBoto3 | string> {
  const ofHost = { program: 'python3', env: {} };
  if ((await whyNot(ofHost)) === null) return ofHost;
  try {
    const wanted = { requirements: [LINE], constraints: [], names: ['boto3'], flags: [] };
    const { directory } = await fetchSet(wanted, { cacheDirectory: join(TEST_CACHE, 'snapfaas') });
    const env = { PYTHONPATH: join(directory, modulesOf(await guestPython())) };
    const fetched = { program: '/usr/bin/python3', env };
    const problem = await whyNot(fetched);
    return problem === null ? fetched : `boto3 was fetched, and cannot be used: ${problem}`;
  } catch (error) {
    return `boto3 is not installed, and cannot be fetched: ${messageOf(error)}`;
  }
}

async function whyNot({ program, env }: PythonWithBoto3): Promise<string | null> {
  try {
    await promisify(execFile)(program, ['-c', LOOK], { env: { ...process.env, ...env } });
    return null;
  } catch (error) {
    return messageOf(error);
  }
}
