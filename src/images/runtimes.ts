/** Runs in the builder and in `npm start`. How each root file system is made. */
import type { RuntimefsName } from '../protocol/runtimes.ts';
import { JAVA_IMAGES } from './java.ts';
import { NODE_IMAGES } from './nodejs.ts';
import { PROVIDED_IMAGE } from './provided.ts';
import { PYTHON_IMAGE } from './python3.ts';
import type { RootPackages } from './userland.ts';

export interface RuntimeImage {
  /** Whatever makes another image when it changes, beside the packages and our files. */
  readonly recipe: Readonly<Record<string, unknown>>;
  /** The runtime's own files, from the project's root. */
  listFiles(): Promise<readonly string[]>;
  /** Its Debian packages, as apt resolves them now. */
  resolve(): Promise<RootPackages>;
  /**
   * Fills the empty directory `root`, using the directory `scratch`.
   *
   * @returns the versions of all packages in it.
   */
  fill(root: string, scratch: string, update: (text: string) => void): Promise<Readonly<Record<string, string>>>;
}

export const RUNTIME_IMAGES: Readonly<Record<RuntimefsName, RuntimeImage>> = {
  python3: PYTHON_IMAGE,
  ...NODE_IMAGES,
  ...JAVA_IMAGES,
  provided: PROVIDED_IMAGE,
};
