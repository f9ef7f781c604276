import { contract } from './contract.ts';

contract('process', 'cold');
