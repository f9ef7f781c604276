import { describeZipPackages } from './zip-packages.ts';

describeZipPackages('qemu');
