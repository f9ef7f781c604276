/** A short run of the guest's fuzz targets; `npm run fuzz -- --target init-relay --cases 10000000` is a long one. */
import { describe, test } from 'node:test';
import { findCompiler, INIT_TARGETS, InitProgram } from './init-targets.ts';

const WISH = { cases: 200_000, seconds: 5, seed: 1 };

const compiler = findCompiler();
const noCompiler = compiler === null ? 'neither gcc nor clang is installed' : false;

describe('init and the Runtime API, whatever is said to them', { timeout: 180_000, skip: noCompiler }, () => {
  for (const target of INIT_TARGETS) {
    test(target, async (t) => {
      const program = new InitProgram(target, compiler ?? 'gcc');
      try {
        const { cases, seconds } = await program.run(WISH);
        t.diagnostic(`${cases} cases in ${seconds.toFixed(1)} s`);
      } finally {
        program.remove();
      }
    });
  }
});
