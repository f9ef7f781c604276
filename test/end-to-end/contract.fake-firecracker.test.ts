import { contract } from './contract.ts';

contract('fake-firecracker', 'cold', ['firecracker: {prestarted: 0}']);
contract('fake-firecracker', 'restored', ['firecracker: {prestarted: 2}']);
