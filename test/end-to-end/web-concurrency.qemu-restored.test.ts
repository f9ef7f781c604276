import { webConcurrency } from './web-concurrency.ts';

webConcurrency('qemu', 'restored');
