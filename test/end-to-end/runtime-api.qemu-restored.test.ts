import { runtimeApi } from './runtime-api.ts';

runtimeApi('qemu', 'restored');
