import { functionsComeAndGo } from './functions-come-and-go.ts';

functionsComeAndGo('process');
