import { describeLayers } from './layers.ts';

describeLayers('process');
