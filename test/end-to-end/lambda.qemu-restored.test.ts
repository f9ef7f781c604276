import { lambdaStreams } from './lambda-streams.ts';
import { lambdaContract } from './lambda.ts';

lambdaContract('qemu', 'restored');
lambdaStreams('qemu', 'restored');
