import { describeHelperCrashes } from './helper-crashes.ts';

describeHelperCrashes({ vmm: 'process', rounds: 6, longestMs: 1200, snapshots: false });
