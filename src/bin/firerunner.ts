#!/usr/bin/env node
/** Runs one VM in the foreground, or serves launches for snapctr: see `firerunner-program.ts`. */
import { begin } from './begin.ts';

await begin('firerunner', () => import('./firerunner-program.ts'), 70);
