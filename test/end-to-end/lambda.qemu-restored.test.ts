import { lambdaContract } from './lambda.ts';

lambdaContract('qemu', 'restored');
