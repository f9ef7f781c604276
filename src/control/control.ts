/** Runs in snapctr. All that can be changed while it runs: functions, layers, and the packages of both. */
import type { PackageStore } from '../packages/store.ts';
import type { DataDirectory } from './data-directory.ts';
import { FunctionControl, type FunctionControlOptions } from './function-control.ts';
import { LayerControl } from './layer-control.ts';

export type ControlOptions = Omit<FunctionControlOptions, 'records' | 'packages' | 'layerOf'>;

export class Control {
  readonly functions: FunctionControl;
  readonly layers: LayerControl;
  readonly packages: PackageStore;
  readonly #data: DataDirectory;

  private constructor(functions: FunctionControl, layers: LayerControl, data: DataDirectory) {
    this.functions = functions;
    this.layers = layers;
    this.packages = data.packages;
    this.#data = data;
  }

  /** Resolves when all that is kept can be asked for. The directory is closed with it. */
  static async open(data: DataDirectory, options: ControlOptions): Promise<Control> {
    const { records, packages } = data;
    const layers = await LayerControl.open({ ...options, records: records.layers, packages });
    const functions = await FunctionControl.open({
      ...options,
      records: records.functions,
      packages,
      layerOf: (reference) => layers.useOf(reference),
    });
    await packages.removeAllUnheld();
    return new Control(functions, layers, data);
  }

  /** Waits for operations that are under way. */
  async close(): Promise<void> {
    await this.functions.idle();
    await this.layers.idle();
    await this.#data.close();
  }
}
