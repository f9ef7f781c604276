import { runtimeApi } from './runtime-api.ts';

runtimeApi('process', 'cold');
