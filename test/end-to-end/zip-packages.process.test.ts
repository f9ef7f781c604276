import { describeZipPackages } from './zip-packages.ts';

describeZipPackages('process');
