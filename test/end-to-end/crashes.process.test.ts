import { describeDeploymentCrashes } from './crashes.ts';

describeDeploymentCrashes({ vmm: 'process', rounds: 4, names: ['a', 'b', 'c'], longestLifeMs: 2500 });
