import { describeDeploymentCrashes } from './crashes.ts';

describeDeploymentCrashes({ vmm: 'qemu', rounds: 2, names: ['a', 'b'], longestLifeMs: 8000 });
