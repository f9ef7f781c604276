import { faults } from './faults.ts';

faults('qemu');
