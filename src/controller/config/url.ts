/** Runs in snapctr. The key `url` of a function, as the registry has it. */
import type { CorsRecord, UrlRecord } from '../../registry/records.ts';
import type { UrlYaml } from '../../yaml/url-key.ts';

export type UrlSettings = Pick<UrlRecord, 'authType' | 'invokeMode' | 'cors'>;

/** @param invokeMode where nothing is said of it. */
export function urlSettings(yaml: UrlYaml, invokeMode: UrlSettings['invokeMode']): UrlSettings {
  return Object.freeze({
    authType: yaml.auth === 'none' ? 'NONE' : 'AWS_IAM',
    invokeMode: yaml.invoke_mode ? (yaml.invoke_mode === 'buffered' ? 'BUFFERED' : 'RESPONSE_STREAM') : invokeMode,
    cors: yaml.cors ? corsOf(yaml.cors) : null,
  });
}

function corsOf(yaml: NonNullable<UrlYaml['cors']>): CorsRecord {
  return {
    allowCredentials: yaml.allow_credentials ?? null,
    allowHeaders: yaml.allow_headers ?? null,
    allowMethods: yaml.allow_methods ?? null,
    allowOrigins: yaml.allow_origins ?? null,
    exposeHeaders: yaml.expose_headers ?? null,
    maxAgeS: yaml.max_age ?? null,
  };
}
