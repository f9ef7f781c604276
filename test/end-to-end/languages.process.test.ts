import { languages } from './languages.ts';

languages('process', 'cold');
