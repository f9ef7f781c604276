import { faults } from './faults.ts';

faults('process');
