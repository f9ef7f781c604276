import { describeBoto3 } from './boto3.ts';

await describeBoto3('qemu');
