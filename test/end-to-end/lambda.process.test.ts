import { lambdaContract } from './lambda.ts';

lambdaContract('process', 'cold');
