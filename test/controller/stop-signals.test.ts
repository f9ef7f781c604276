import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { createLogger } from '../../src/controller/log.ts';
import { StopSignals } from '../../src/controller/stop-signals.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const before = new Map(SIGNALS.map((signal) => [signal, process.listeners(signal)]));
afterEach(() => {
  for (const signal of SIGNALS) {
    for (const listener of process.listeners(signal)) {
      if (before.get(signal)?.includes(listener) !== true) process.removeListener(signal, listener);
    }
  }
});

function listen(terminals: boolean[] = [false]): readonly string[] {
  const told: string[] = [];
  const signals = new StopSignals({
    onReload: () => told.push('reload'),
    onSecond: () => told.push('end soon'),
    hasTerminal: () => (terminals.length > 1 ? terminals.shift() : terminals[0]) ?? false,
    logger: createLogger('silent'),
  });
  void signals.first.then(() => told.push('first'));
  void signals.second.then(() => told.push('second'));
  return told;
}

const send = async (...signals: readonly NodeJS.Signals[]): Promise<void> => {
  for (const signal of signals) {
    process.emit(signal, signal);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

test('stop signals: the first one drains, the second one ends', async () => {
  const told = listen();
  await send('SIGTERM');
  assert.deepEqual(told, ['first']);
  await send('SIGINT', 'SIGINT');
  assert.deepEqual(told.slice(0, 3), ['first', 'end soon', 'second']);
});

test('stop signals: SIGHUP reads the files again, with a terminal and without', async () => {
  for (const terminal of [true, false]) {
    const told = listen([terminal]);
    await send('SIGHUP', 'SIGHUP');
    assert.deepEqual(told, ['reload', 'reload']);
  }
});

test('stop signals: SIGHUP drains where the terminal has gone', async () => {
  const told = listen([true, false]);
  await send('SIGHUP', 'SIGHUP');
  assert.deepEqual(told, ['first', 'end soon', 'second']);
});
