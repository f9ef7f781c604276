import { faults } from './faults.ts';

// None is started ahead: the suite takes every VMM for a VM.
faults('fake-firecracker', ['firecracker: {prestarted: 0}']);
