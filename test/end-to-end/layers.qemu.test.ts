import { describeLayers } from './layers.ts';

describeLayers('qemu');
