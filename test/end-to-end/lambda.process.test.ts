import { lambdaStreams } from './lambda-streams.ts';
import { lambdaContract } from './lambda.ts';

lambdaContract('process', 'cold');
lambdaStreams('process', 'cold');
