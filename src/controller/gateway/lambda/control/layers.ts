/** Runs in snapctr. Operations on layers. */
import type { LayerReference } from '../../../../control/descriptions.ts';
import { codeDigest, type LayerRecord, type LayerVersionRecord } from '../../../../registry/records.ts';
import { created, NOTHING, numberKey, ok, pageOf, withMarker, type Call, type Result } from './call.ts';
import { zipOf } from './functions.ts';
import { layerArnOf, parseLayerName, parseLayerVersion, parseLayerVersionArn } from './layer-names.ts';
import { layerVersion, type Json } from './render.ts';
import * as requests from './requests.ts';
import { checkOffered } from './settings.ts';
import { readShape } from './shapes.ts';

const PAGE = { most: 50, atOnce: 50 } as const;

export async function publishLayerVersion(call: Call): Promise<Result> {
  const body = readShape(requests.publishLayerVersion, call.body);
  if (body.Content !== undefined) checkOffered(body.Content);
  const name = layerOf(call);
  const record = await call.plane.layers.publish({
    name,
    code: zipOf(call.code),
    description: body.Description ?? '',
    licenseInfo: body.LicenseInfo ?? null,
    compatibleRuntimes: body.CompatibleRuntimes ?? [],
    compatibleArchitectures: body.CompatibleArchitectures ?? [],
  });
  return { ...created(withContent(call, name, record)), audit: { version: record.version } };
}

export function getLayerVersion(call: Call): Result {
  const reference = referenceOf(call);
  return ok(withContent(call, reference.name, call.plane.layers.version(reference)));
}

export async function deleteLayerVersion(call: Call): Promise<Result> {
  await call.plane.layers.delete(referenceOf(call));
  return NOTHING;
}

export function listLayerVersions(call: Call): Result {
  const name = layerOf(call);
  const versions = [...call.plane.layers.versions(name)].reverse().filter((one) => isCompatible(call, one));
  // The newest come first.
  const key = ({ version }: LayerVersionRecord): string => numberKey(999_999_999_999 - version);
  const { items, nextMarker } = pageOf(versions, key, call.query, PAGE);
  return ok(withMarker({ LayerVersions: items.map((one) => layerVersion(call.account, name, one)) }, nextMarker));
}

export function listLayers(call: Call): Result {
  const own = call.plane.layers.list().filter(({ name }) => call.caller.mayList(name));
  const shown = own.flatMap((layer) => {
    const latest = newestOf(call, layer);
    return latest === undefined ? [] : [{ layer, latest }];
  });
  const { items, nextMarker } = pageOf(shown, ({ layer }) => layer.name, call.query, PAGE);
  const Layers = items.map(({ layer: { name }, latest }) => ({
    LayerName: name,
    LayerArn: layerArnOf(call.account, name),
    LatestMatchingVersion: layerVersion(call.account, name, latest),
  }));
  return ok(withMarker({ Layers }, nextMarker));
}

function newestOf(call: Call, { versions }: LayerRecord): LayerVersionRecord | undefined {
  return versions.filter((one) => isCompatible(call, one)).at(-1);
}

/** One that names nothing is for all. */
function isCompatible({ query }: Call, { compatibleRuntimes, compatibleArchitectures }: LayerVersionRecord): boolean {
  const [runtime, architecture] = [query.get('CompatibleRuntime'), query.get('CompatibleArchitecture')];
  return (
    (runtime === null || compatibleRuntimes.includes(runtime)) &&
    (architecture === null || compatibleArchitectures.length === 0 || compatibleArchitectures.includes(architecture))
  );
}

function withContent(call: Call, name: string, record: LayerVersionRecord): Json {
  const { code } = record;
  const Content = { Location: call.linkTo(code.sha256), CodeSha256: codeDigest(code), CodeSize: code.bytes };
  return { Content, LayerArn: layerArnOf(call.account, name), ...layerVersion(call.account, name, record) };
}

/** Of the path or the query. @throws ApiError */
export function layerOf({ parameters, query, account }: Pick<Call, 'parameters' | 'query' | 'account'>): string {
  const inPath = parameters['LayerName'];
  if (inPath !== undefined) return parseLayerName(inPath, account);
  return parseLayerVersionArn(query.get('Arn') ?? '', account).name;
}

function referenceOf(call: Call): LayerReference {
  const { parameters, query, account } = call;
  if (parameters['LayerName'] === undefined) return parseLayerVersionArn(query.get('Arn') ?? '', account);
  return { name: layerOf(call), version: parseLayerVersion(parameters['VersionNumber'] ?? '') };
}
