import { describeLifeCycle } from './control.ts';

describeLifeCycle('qemu');
