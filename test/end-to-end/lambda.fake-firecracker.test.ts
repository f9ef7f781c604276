import { lambdaContract } from './lambda.ts';
import { lambdaStreams } from './lambda-streams.ts';

lambdaContract('fake-firecracker', 'restored');
lambdaStreams('fake-firecracker', 'restored');
