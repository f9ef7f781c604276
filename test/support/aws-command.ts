/** The `aws` command as Debian has it, pointed at a controller. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Debian's; another one in the PATH may be of a version with other options. */
export const AWS = '/usr/bin/aws';
/** It starts slowly on a busy machine, in ms. */
const PATIENCE_MS = 60_000;

export interface AwsResult {
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Any credentials do. @param directory for what the command keeps in a home directory. */
export function awsEnvironment(directory: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: directory,
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_DEFAULT_REGION: 'us-east-1',
    AWS_PAGER: '',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}

/** Runs `aws lambda …` in a directory. */
export async function awsLambda(url: string, args: readonly string[], directory: string): Promise<AwsResult> {
  const child = spawn(AWS, ['--endpoint-url', url, '--output', 'json', 'lambda', ...args], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: PATIENCE_MS,
    env: awsEnvironment(directory),
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status: status ?? signal ?? 'unknown', ...output };
}
