/** Runs in snapctr. Layers and what is tagged, as requests name them. */
import type { LayerReference } from '../../../../control/descriptions.ts';
import { PARTITION, type LambdaAccount } from '../../../../protocol/arn.ts';
import { ApiError, validationError } from '../errors.ts';
import { readParameter, string } from './shapes.ts';
import { layerArn } from './requests.ts';

const layerName = string({
  min: 1,
  max: 2048,
  pattern:
    '(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:layer:[a-zA-Z0-9-_]{1,140}|' +
    '[a-zA-Z0-9-_]{1,140})',
});

/** @param text a name, or an ARN without a version. @throws ApiError */
export function parseLayerName(text: string, account: LambdaAccount): string {
  readParameter(layerName, text, 'layerName');
  if (!text.includes(':')) return text;
  const [, , , region = '', accountId = '', , name = ''] = text.split(':');
  checkPlace(text, region, accountId, account);
  return name;
}

/** @throws ApiError */
export function parseLayerVersionArn(text: string, account: LambdaAccount): LayerReference {
  readParameter(layerArn, text, 'arn');
  const [, , , region = '', accountId = '', , name = '', version = ''] = text.split(':');
  checkPlace(text, region, accountId, account);
  return { name, version: parseLayerVersion(version) };
}

/** @throws ApiError */
export function parseLayerVersion(text: string): number {
  const version = /^[1-9]\d{0,8}$/.test(text) ? Number(text) : null;
  if (version === null) throw validationError('versionNumber', text, 'Member must be a number from 1 on');
  return version;
}

export function layerArnOf({ region, accountId }: LambdaAccount, name: string): string {
  return `arn:${PARTITION}:lambda:${region}:${accountId}:layer:${name}`;
}

/** Layers of others would have to be fetched from AWS. */
function checkPlace(arn: string, region: string, accountId: string, account: LambdaAccount): void {
  if (region === account.region && accountId === account.accountId) return;
  const here = layerArnOf(account, 'NAME');
  const message = `The layer ${arn.slice(0, 300)} is of another account or region; publish it here, as ${here}.`;
  throw new ApiError('InvalidParameterValueException', message);
}
