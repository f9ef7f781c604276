/**
 * Runs in `npm test`, in node's test runner. The report on the terminal: that of node's own `spec` reporter, and before its
 * summary the test files that took longest.
 */
import { once } from 'node:events';
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { spec as SpecReporter } from 'node:test/reporters';

const MAX_SLOW_FILES = 20;

/** The first line of the runner's summary, which follows all tests. */
function isSummary(event: TestEvent): boolean {
  return event.type === 'test:diagnostic' && event.data.nesting === 0 && event.data.message.startsWith('tests ');
}

/** The time that the tests and suites at the top of each file took, in ms; without the start of their process. */
class FileTimes {
  readonly #msByFile = new Map<string, number>();

  add(event: TestEvent): void {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') return;
    const { file, nesting, details } = event.data;
    if (file === undefined || nesting > 0) return;
    this.#msByFile.set(file, (this.#msByFile.get(file) ?? 0) + details.duration_ms);
  }

  /** Lines for the slowest files, slowest first. */
  report(): readonly string[] {
    const slowest = [...this.#msByFile].sort((left, right) => right[1] - left[1]).slice(0, MAX_SLOW_FILES);
    const lines = slowest.map(([file, ms]) => `${(ms / 1000).toFixed(1).padStart(7)} s  ${relative('.', file)}`);
    return [`slowest ${slowest.length} of ${this.#msByFile.size} test files`, ...lines];
  }
}

async function* withSlowestFiles(source: AsyncIterable<TestEvent>): AsyncGenerator<TestEvent> {
  const times = new FileTimes();
  for await (const event of source) {
    times.add(event);
    if (isSummary(event)) {
      for (const message of times.report()) yield { type: 'test:diagnostic', data: { nesting: 0, message } };
    }
    yield event;
  }
}

/** As `--test-reporter` takes it. */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const reporter = new SpecReporter();
  const written = (async () => {
    for await (const event of withSlowestFiles(source)) {
      if (!reporter.write(event)) await once(reporter, 'drain');
    }
    reporter.end();
  })();
  for await (const text of reporter as AsyncIterable<string>) yield text;
  await written;
}
