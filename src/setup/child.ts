/**
 * Runs in `npm start`, `npm test` and `npm run bench`. Runs the mode's program in place of this process, as far as
 * Node can: same terminal, signals and exit status.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface ChildOptions {
  readonly cwd: string;
  /** The `node` to run; absent: the one that runs this. */
  readonly node?: string;
  /** Called with each line the program writes to stderr, which still goes to ours. Absent: it inherits ours. */
  readonly onErrorLine?: (line: string) => void;
}

/** Runs `node argv…` to its end. Returns its exit status; 128 + N if signal N ended it. */
export async function runNode(argv: readonly string[], options: ChildOptions): Promise<number> {
  const { onErrorLine, node = process.execPath } = options;
  const stderr = onErrorLine === undefined ? 'inherit' : 'pipe';
  const child = spawn(node, argv, { cwd: options.cwd, stdio: ['inherit', 'inherit', stderr] });
  if (child.stderr !== null && onErrorLine !== undefined) {
    let line = '';
    child.stderr.on('data', (chunk: Buffer) => {
      process.stderr.write(chunk);
      const lines = (line + chunk.toString('utf8')).split('\n');
      line = lines.pop() ?? '';
      for (const whole of lines) onErrorLine(whole);
    });
  }
  const forward = (signal: NodeJS.Signals): void => {
    // A terminal sends Ctrl-C to both of us; a second one would tell the program not to finish in peace.
    if (signal === 'SIGINT' && process.stdin.isTTY) return;
    child.kill(signal);
  };
  for (const signal of FORWARDED) process.on(signal, forward);
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, signal) =>
        resolve(signal === null ? (status ?? 1) : 128 + constants.signals[signal]),
      );
    });
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
  }
}
