import { describeHelperCrashes } from './helper-crashes.ts';

describeHelperCrashes({ vmm: 'qemu', rounds: 3, longestMs: 6000, snapshots: true, victims: ['firerunner'] });
