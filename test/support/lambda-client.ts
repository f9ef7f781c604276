/** Clients of the Lambda API as users have them. */
import { LambdaClient } from '@aws-sdk/client-lambda';

export interface LambdaAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** The SDK as it is, pointed at a controller. Its notice about old Nodes is not the tests' concern. */
export function lambdaClient(endpoint: string, options: { readonly maxAttempts?: number } = {}): LambdaClient {
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  return new LambdaClient({ region: 'us-east-1', endpoint, credentials, ...options });
}

/** One Invoke without a client's help, to see the bytes and headers. */
export async function invokeRaw(
  url: string,
  name: string,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
  signal: AbortSignal | null = null,
): Promise<LambdaAnswer> {
  const path = `/2015-03-31/functions/${encodeURIComponent(name)}/invocations`;
  const response = await fetch(`${url}${path}`, { method: 'POST', body, headers, signal });
  return { status: response.status, headers: response.headers, text: await response.text() };
}
