import { webConcurrency } from './web-concurrency.ts';

webConcurrency('process', 'cold');
