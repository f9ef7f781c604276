import { contract } from './contract.ts';

contract('qemu', 'restored');
