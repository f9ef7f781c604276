import { languages } from './languages.ts';

languages('qemu', 'restored');
