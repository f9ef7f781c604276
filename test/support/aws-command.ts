/** The `aws` command as Debian has it, pointed at a controller. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import { whyWithout } from './needed-program.ts';

/** Debian's; another one in the PATH may be of a version with other options. */
export const AWS = '/usr/bin/aws';
/** Why tests of it are skipped; false: it is there. */
export const NO_AWS = whyWithout(AWS, 'awscli');
/** It starts slowly on a busy machine, and waits for deployments, in ms. */
const PATIENCE_MS = 120_000;

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
  return runToEnd(AWS, ['--endpoint-url', url, '--output', 'json', 'lambda', ...args], directory);
}

/** Runs lines of the shell in a directory, up to the first that fails; `aws` is the one from above. */
export async function awsScript(lines: string, directory: string): Promise<AwsResult> {
  return runToEnd('bash', ['-euo', 'pipefail', '-c', lines], directory);
}

async function runToEnd(program: string, args: readonly string[], directory: string): Promise<AwsResult> {
  const child = spawn(program, args, {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: PATIENCE_MS,
    env: { ...awsEnvironment(directory), PATH: `${dirname(AWS)}:${process.env['PATH'] ?? ''}` },
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status: status ?? signal ?? 'unknown', ...output };
}
