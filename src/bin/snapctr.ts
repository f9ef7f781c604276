#!/usr/bin/env node
/** The controller, and the commands around it: see `snapctr-program.ts`. */
import { begin } from './begin.ts';

await begin('snapctr', () => import('./snapctr-program.ts'), 1);
