/**
 * `npm run fuzz -- --target NAME [--cases N] [--seconds S] [--seed N]`: gives a parser of the host, or a part of init,
 * mutated input, and checks what has to hold of it. `--all` takes each target in turn, `--input HEX` one case.
 *
 * A line for each: cases, seconds, seed. Exit status 1 if a property does not hold: the message says how to see it again.
 */
import { parseArgs } from 'node:util';
import { findCompiler, INIT_TARGETS, InitProgram } from './init-targets.ts';
import { PARSER_TARGETS } from './targets.ts';
import { fuzz, repeat, type FuzzRun, type FuzzWish } from './target.ts';

interface Runnable {
  readonly name: string;
  run(wish: FuzzWish): Promise<FuzzRun>;
  repeat(hex: string): Promise<void>;
}

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    all: { type: 'boolean', default: false },
    cases: { type: 'string', default: '1000000' },
    seconds: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    input: { type: 'string' },
  },
});

const targets: readonly Runnable[] = [
  ...INIT_TARGETS.map((name) => ({
    name,
    run: (wish: FuzzWish) => withProgram(name, (program) => program.run(wish)),
    repeat: (hex: string) => withProgram(name, (program) => program.repeat(hex)),
  })),
  ...PARSER_TARGETS.map((target) => ({
    name: target.name,
    run: (wish: FuzzWish) => fuzz(target, wish),
    repeat: (hex: string) => repeat(target, Buffer.from(hex, 'hex')),
  })),
];
const chosen = targets.filter(({ name }) => values.all || name === values.target);
if (chosen.length === 0) {
  console.error(`--target takes one of: ${targets.map(({ name }) => name).join(', ')}; or give --all`);
  process.exit(2);
}
const wish = {
  cases: Number(values.cases),
  seconds: values.seconds === undefined ? null : Number(values.seconds),
  seed: Number(values.seed),
};
for (const { name, run, repeat: repeatCase } of chosen) {
  try {
    if (values.input !== undefined) {
      await repeatCase(values.input);
      console.log(`${name}: the case holds`);
      continue;
    }
    const { cases, seconds } = await run(wish);
    console.log(`${name}: ${cases} cases in ${seconds.toFixed(1)} s, seed ${wish.seed}: no failure`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}

async function withProgram<T>(
  name: (typeof INIT_TARGETS)[number],
  use: (program: InitProgram) => Promise<T>,
): Promise<T> {
  const compiler = findCompiler();
  if (compiler === null) throw new Error(`${name} needs gcc or clang`);
  const program = new InitProgram(name, compiler);
  try {
    return await use(program);
  } finally {
    program.remove();
  }
}
