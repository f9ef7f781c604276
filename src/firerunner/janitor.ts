/**
 * Runs in firerunner. Starts shells that clean up after it: each waits for the end of its stdin, which the kernel closes when
 * firerunner dies of whatever.
 */
import { spawn } from 'node:child_process';

/**
 * @param name as `ps` shows it; begins with `snapfaas-` and ends with `janitor`.
 * @param script what to do then; its arguments are $1, $2 and so on.
 * @returns what stands the janitor down: it does its work at once, and should find none.
 */
export function startJanitor(name: string, script: string, args: readonly string[]): () => void {
  // A process group of its own keeps a terminal's signals away from it.
  const janitor = spawn('/bin/sh', ['-c', `read -r _\n${script}`, name, ...args], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
  });
  janitor.on('error', () => undefined);
  janitor.stdin.on('error', () => undefined);
  janitor.unref();
  return () => janitor.stdin.end();
}
