import { webPorts } from './web-ports.ts';

webPorts('qemu', 'restored');
