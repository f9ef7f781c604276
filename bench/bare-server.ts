/** The bare `node:http` server that others are measured beside, in a process of its own, as snapctr is. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export async function startBare(): Promise<{ url: string; stop: () => Promise<unknown> }> {
  const program = fileURLToPath(new URL('bare-echo.js', import.meta.url));
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [url] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return {
    url,
    stop() {
      child.kill();
      return once(child, 'exit');
    },
  };
}
