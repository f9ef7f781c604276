/** Runs in `snapctr doctor`. All checks, in the order of a report: each looks at what the next ones stand on. */
import type { Check } from './check.ts';
import { cacheDirectoryCheck } from './checks/cache-directory.ts';
import { configurationCheck } from './checks/configuration.ts';
import { initrdCheck, kernelCheck, rootFileSystemsCheck } from './checks/guest-files.ts';
import { buildToolsCheck, nodeCheck, systemCheck } from './checks/host.ts';
import { jailerCheck } from './checks/jailer.ts';
import { kvmDeviceCheck, kvmGuestCheck } from './checks/kvm.ts';
import { cgroupsCheck, openFilesCheck } from './checks/limits.ts';
import { hugePagesCheck, memoryCheck, swapCheck } from './checks/memory.ts';
import { networkCheck } from './checks/network.ts';
import { runDirectoryCheck } from './checks/run-directory.ts';
import { snapshotDirectoryCheck } from './checks/snapshot-directory.ts';
import { firecrackerCheck, qemuCheck, vmmCheck } from './checks/vmms.ts';

export const CHECKS: readonly Check[] = [
  nodeCheck,
  systemCheck,
  configurationCheck,
  buildToolsCheck,
  kernelCheck,
  initrdCheck,
  rootFileSystemsCheck,
  runDirectoryCheck,
  cacheDirectoryCheck,
  kvmDeviceCheck,
  kvmGuestCheck,
  firecrackerCheck,
  jailerCheck,
  qemuCheck,
  vmmCheck,
  snapshotDirectoryCheck,
  networkCheck,
  memoryCheck,
  swapCheck,
  hugePagesCheck,
  openFilesCheck,
  cgroupsCheck,
];
