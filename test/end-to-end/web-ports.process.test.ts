import { webPorts } from './web-ports.ts';

webPorts('process', 'cold');
