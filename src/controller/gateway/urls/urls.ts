/** Runs in snapctr. The room of function URLs: which function a request means, and who may. */
import type { IncomingMessage } from 'node:http';
import { AccessError } from '../../../auth/access-error.ts';
import { ANYBODY, type Caller } from '../../../auth/caller.ts';
import type { LambdaAccount } from '../../../protocol/arn.ts';
import type { FunctionRegistry } from '../../../registry/function-registry.ts';
import { UNQUALIFIED } from '../../../registry/records.ts';
import type { Logger } from '../../log.ts';
import type { ControlPlane } from '../lambda/control/call.ts';
import { mayInvoke } from '../lambda/control/policies.ts';
import { isPreflight } from '../origin-policy.ts';
import { addressOf, type UrlAddress } from './address.ts';
import { allowsOrigin } from './cors.ts';
import { UrlDialect } from './dialect.ts';

export interface FunctionUrlsOptions {
  readonly account: LambdaAccount;
  readonly functions: Pick<FunctionRegistry, 'get' | 'url'>;
  readonly plane: ControlPlane | null;
  readonly logger: Logger;
}

export class FunctionUrls {
  readonly #options: FunctionUrlsOptions;
  readonly #maxEventBytes: number;

  constructor(options: FunctionUrlsOptions, maxEventBytes: number) {
    this.#options = options;
    this.#maxEventBytes = maxEventBytes;
  }

  /** @param target of the request, from its path on. @returns null: it is no function URL's. */
  addressOf(host: string | undefined, target: string): UrlAddress | null {
    const { functions, account } = this.#options;
    return addressOf(host, target, functions, account);
  }

  /** Whether the caller has to say who it is. */
  isClosed({ url, isByPath }: UrlAddress, incoming: IncomingMessage): boolean {
    // Whether a function of this name is there is not told to everybody.
    if (url === null) return isByPath;
    if (url.authType === 'NONE') return false;
    // Browsers ask what they may before they say for whom.
    return url.cors === null || !isPreflight(incoming);
  }

  /** Whether the URL's configuration names the page that sends a request. */
  namesPage({ url }: UrlAddress, { headers }: IncomingMessage): boolean {
    return url !== null && url.cors !== null && allowsOrigin(url.cors, headers.origin);
  }

  /** @param caller null: nobody was asked. */
  dialectFor(incoming: IncomingMessage, address: UrlAddress, caller: Caller | null): UrlDialect {
    const { account, logger } = this.#options;
    return new UrlDialect({
      account,
      address,
      incoming,
      caller,
      authorize: () => {
        if (caller !== null) this.#authorize(address, caller, incoming);
      },
      maxEventBytes: this.#maxEventBytes,
      logger,
    });
  }

  /** By the key, or by the function's policy. @throws AccessError */
  #authorize({ url, name }: UrlAddress, caller: Caller, incoming: IncomingMessage): void {
    if (name === null) return;
    // Without keys any credentials do, as everywhere; but none at all would not do on AWS either.
    if (url !== null && caller === ANYBODY && !hasCredentials(incoming)) {
      throw new AccessError('MissingAuthenticationTokenException', 'Missing Authentication Token');
    }
    try {
      caller.authorize('lambda:InvokeFunctionUrl', name);
    } catch (error) {
      const { plane, account } = this.#options;
      const policies = plane?.functions.find(name)?.policies ?? {};
      const key = url?.qualifier ?? UNQUALIFIED;
      const policy = Object.hasOwn(policies, key) ? policies[key] : undefined;
      const ofKey = caller.key?.name ?? null;
      if (ofKey === null || !mayInvoke(policy ?? null, ofKey, account, 'lambda:InvokeFunctionUrl')) throw error;
    }
  }
}

function hasCredentials({ headers, url = '' }: IncomingMessage): boolean {
  return headers.authorization !== undefined || /[?&]X-Amz-Signature=/i.test(url);
}
