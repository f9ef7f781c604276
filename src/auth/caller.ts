/** Runs in snapctr. Who sends a request, and what it may do. */
import { AccessError } from './access-error.ts';
import { AS_IT_IS, type BodyOpener } from './body-opener.ts';
import type { KnownKey } from './keyring.ts';
import { OPERATIONS, roleMay, type Operation } from './operations.ts';

/** What is known of a request's sender before its body has come. */
export interface Caller {
  /** Name and id of its key, for logs; null: anybody. */
  readonly key: { readonly id: string; readonly name: string } | null;
  /**
   * False: the signature covers the body, and what the caller says of itself is proved with the body, by `bodyOpener`. Until then
   * it must not learn anything but errors of the signature.
   */
  readonly isProven: boolean;
  /** @param target name of the function or layer, for an operation on one. @throws AccessError AccessDeniedException. */
  authorize(operation: Operation, target?: string): void;
  /** Whether a list shows the function or layer. */
  mayList(name: string): boolean;
  /** Takes the body, before anything of it is used. */
  bodyOpener(): BodyOpener;
}

/** Where there are no keys. */
export const ANYBODY: Caller = {
  key: null,
  isProven: true,
  authorize: () => undefined,
  mayList: () => true,
  bodyOpener: () => AS_IT_IS,
};

/** What a caller proves that it has the secret of its key by. */
export interface Proof {
  readonly isWhole: boolean;
  /** See `Caller.bodyOpener`. */
  bodyOpener(): BodyOpener;
}

/** A bearer token, or a signature that leaves the body out. */
export const WHOLE: Proof = { isWhole: true, bodyOpener: () => AS_IT_IS };

export class KeyHolder implements Caller {
  readonly #known: KnownKey;
  readonly #proof: Proof;

  constructor(known: KnownKey, proof: Proof) {
    this.#known = known;
    this.#proof = proof;
  }

  get key(): { readonly id: string; readonly name: string } {
    const { id, name } = this.#known.key;
    return { id, name };
  }

  get isProven(): boolean {
    return this.#proof.isWhole;
  }

  authorize(operation: Operation, target?: string): void {
    const { name, role } = this.#known.key;
    const what = `the key ${name} (role ${role}) may not do ${operation}`;
    const { least, on } = OPERATIONS[operation];
    if (!roleMay(role, operation)) {
      throw new AccessError('AccessDeniedException', `${what}, which takes the role ${least}`);
    }
    if ((on === 'function' || on === 'layer') && (target === undefined || !this.#known.isFor(target))) {
      throw new AccessError('AccessDeniedException', `${what} on the ${on} ${target ?? '?'}: it is for others`);
    }
  }

  mayList(name: string): boolean {
    return this.#known.isFor(name);
  }

  bodyOpener(): BodyOpener {
    return this.#proof.bodyOpener();
  }
}
