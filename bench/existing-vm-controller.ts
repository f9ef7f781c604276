/** A controller over the one VM of its argument; prints its port, ends with stdin. Only for `warm-request`. */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Controller } from '../src/controller/controller.ts';
import { HttpGateway } from '../src/controller/gateway/http.ts';
import { createLogger } from '../src/controller/log.ts';
import { NO_SETTINGS } from '../src/protocol/vmm-settings.ts';
import { DEFAULT_ACCOUNT } from '../src/protocol/arn.ts';
import { MAX_PAYLOAD_BYTES } from '../src/protocol/guest.ts';
import { FunctionRegistry } from '../src/registry/function-registry.ts';
import { functionConfig } from '../test/support/scripted-guests.ts';

const [guestAddress = ''] = process.argv.slice(2);
const registry = new FunctionRegistry();
registry.publish(functionConfig('hello-python'));
const controller = new Controller({
  registry,
  config: {
    memoryMib: 1024,
    kernelPath: '',
    initrdPath: '',
    maxPayloadBytes: MAX_PAYLOAD_BYTES,
    queueCapacity: 1024,
    queueWaitMs: 500,
    queueTimeoutMs: 300_000,
    requestMemoryMib: 256,
    snapshotDirectory: '',
    runtimefsDirectory: '/',
    keepAlive: 'demand',
    standbyMib: 0,
    retention: { maxBytes: 0, maxAgeMs: 0 },
    lambda: DEFAULT_ACCOUNT,
    functions: new Map(),
    urls: new Map(),
    events: new Map(),
    schedules: new Map(),
    eventSources: new Map(),
    nats: null,
    vmmSettings: NO_SETTINGS,
    broken: [],
    files: [],
    notes: [],
  },
  runnerCommand: [process.execPath, fileURLToPath(new URL('existing-vm.js', import.meta.url)), guestAddress],
  bootTimeoutMs: 60_000,
  useSnapshots: false,
  logger: createLogger('error'),
});
await controller.start();
const gateway = new HttpGateway({
  host: '127.0.0.1',
  port: 0,
  maxPayloadBytes: MAX_PAYLOAD_BYTES,
  requestMemoryBytes: 256 * 1024 * 1024,
  submit: controller.submit.bind(controller),
  readiness: () => ({ ready: true }),
  status: () => controller.status(),
  metrics: (query) => controller.telemetry.metrics.render(query),
});
await gateway.start();
console.log(gateway.address.port);
await once(process.stdin.resume(), 'end');
await gateway.close();
await controller.close();
