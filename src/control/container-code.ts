/** Runs in snapctr. A container image as the code of a function: what its name leads to now, whatever it leads to later. */
import { isAbsolute } from 'node:path';
import { ImageError } from '../oci/image-error.ts';
import { resolveImage } from '../oci/image.ts';
import { formatReference, isOfThisHost, parseReference, pinned, type ImageReference } from '../oci/reference.ts';
import { withLimit } from '../protocol/abort.ts';
import { messageOf } from '../protocol/errors.ts';
import type { ContainerCode } from '../registry/records.ts';
import { ControlError } from './control-error.ts';

/** How long a registry may take to tell, in ms. */
const PATIENCE_MS = 30_000;

/** A name that was given to the API. */
export class ContainerName {
  readonly #text: string;
  readonly #reference: ImageReference;

  /** @throws ControlError `invalid` */
  constructor(text: string) {
    this.#text = text;
    this.#reference = read(text);
  }

  /** It names files of the host, or what listens on its loopback interface alone. */
  get isOfThisHost(): boolean {
    return isOfThisHost(this.#reference);
  }

  /** @throws ControlError `invalid` if there is no such image, `host_failed` if that cannot be told now. */
  async resolve(): Promise<ContainerCode> {
    try {
      const digest = await withLimit(PATIENCE_MS, undefined, (signal) => resolveImage(this.#reference, signal));
      const resolved = formatReference(pinned(this.#reference, digest));
      return { sha256: digest.slice('sha256:'.length), bytes: 0, image: { uri: this.#text, resolved } };
    } catch (cause) {
      const isLater = !(cause instanceof ImageError) || cause.isRetryable;
      const message = `Source image ${this.#text} cannot be used: ${messageOf(cause)}`;
      throw new ControlError(isLater ? 'host_failed' : 'invalid', message, { cause });
    }
  }
}

function read(text: string): ImageReference {
  try {
    const reference = parseReference(text);
    if (reference.kind === 'registry' || isAbsolute(reference.file)) return reference;
  } catch (cause) {
    throw new ControlError('invalid', messageOf(cause), { cause });
  }
  throw new ControlError('invalid', `the path in ${text} has to be absolute: it is one of snapctr's host`);
}
