/**
 * A runner that launches nothing: it answers every launch with the VM of its argument, which somebody else owns. Only for
 * `warm-request`.
 */
import { createInterface } from 'node:readline';

const guestAddress = JSON.parse(process.argv[2]);
const emit = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
emit({
  event: 'serving',
  vmm: 'qemu',
  reason: 'a VM that runs already',
  notice: null,
  canPause: false,
  canRestore: false,
});
createInterface({ input: process.stdin }).on('line', (line) => {
  const { op, vm } = JSON.parse(line);
  if (op === 'launch') {
    emit({ event: 'channel', vm, guestAddress });
    emit({
      event: 'ready',
      vm,
      timings: { kind: 'cold', spawnMs: 0, bootMs: 0, loadMs: 0, resumeMs: 0 },
      fallback: null,
    });
  } else {
    emit({ event: 'exited', vm, reason: 'given back' });
  }
});
