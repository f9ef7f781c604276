/**
 * Runs in the commands of people. CloudFormation templates, as they are written by hand, by `sam build` and by `cdk synth`: read, and
 * looked at as far as every template is the same.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { CollectionTag, ScalarTag } from 'yaml';
import { z } from 'zod';
import { check } from '../../yaml/check.ts';
import { expected } from '../../yaml/values.ts';
import { formatProblem, YamlFile, type Problem, type YamlPath } from '../../yaml/yaml-file.ts';
import { badInput } from '../client-error.ts';

export interface Resource {
  /** Such as "AWS::Lambda::Function". */
  readonly type: string;
  readonly properties: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly condition: string | null;
}

export interface Template {
  readonly stack: string;
  /** Where relative paths count from. */
  readonly directory: string;
  /** What it names has been built: packages lie beside the code, and are not brought again. */
  readonly isBuilt: boolean;
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly mappings: unknown;
  readonly conditions: ReadonlyMap<string, unknown>;
  /** `Globals.Function` of SAM. */
  readonly globals: Readonly<Record<string, unknown>>;
  /** By logical id, in the order of the file. */
  readonly resources: ReadonlyMap<string, Resource>;
  /** Paths of CDK's assets by the names that they would have in S3. */
  readonly assets: ReadonlyMap<string, string>;
  /** @throws ClientError that names the place. */
  refuse(path: YamlPath, message: string): never;
}

export interface Parameter {
  readonly type: string;
  readonly fallback: string | null;
  readonly allowed: readonly string[] | null;
}

const scalar = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const map = (what: string) => z.record(z.string(), z.unknown(), expected(what));
const templateSchema = z.looseObject(
  {
    Parameters: z
      .record(
        z.string(),
        z.looseObject({
          Type: z.string(expected('a type such as `String`')),
          Default: z.union([scalar, z.array(scalar).transform((all) => all.join(','))]).optional(),
          AllowedValues: z.array(scalar).optional(),
        }),
        expected('a map of parameters'),
      )
      .optional(),
    Mappings: map('a map of mappings').optional(),
    Conditions: map('a map of conditions').optional(),
    Globals: z.looseObject({ Function: map('a map of properties').optional() }).optional(),
    Resources: z.record(
      z.string(),
      z.looseObject({
        Type: z.string(expected('a type such as `AWS::Serverless::Function`')),
        Properties: map('a map of properties').optional(),
        Metadata: map('a map').optional(),
        Condition: z.string(expected('the name of a condition')).optional(),
      }),
      expected('a map of resources; is the file a CloudFormation template?'),
    ),
  },
  expected('a CloudFormation template'),
);

const TEMPLATE_FILE = /\.(ya?ml|json|template)$/i;
const SAM_FILES = ['template.yaml', 'template.yml', 'template.json'];
/** A file that `cdk synth` leaves in the directory of the same name, beside its manifest. */
const CDK_MARK = 'cdk.out';
const MANIFEST = 'manifest.json';

/** Whether what lies there is a template, or a directory with one, and not a function. */
export function isTemplatePath(path: string, isDirectory: boolean): boolean {
  if (!isDirectory) return TEMPLATE_FILE.test(path);
  if (isCloudAssembly(path)) return true;
  const file = samFile(path);
  return file !== null && /^\s*["']?(AWSTemplateFormatVersion|Transform)\b/m.test(readFileSync(file, 'utf8'));
}

function isCloudAssembly(directory: string): boolean {
  return existsSync(join(directory, MANIFEST)) && existsSync(join(directory, CDK_MARK));
}

function samFile(directory: string): string | null {
  return SAM_FILES.map((name) => join(directory, name)).find((file) => existsSync(file)) ?? null;
}

/**
 * @param path a template, or a directory of `sam build` or `cdk synth`.
 * @param stack which one, where there are several; undefined: the only one.
 * @throws ClientError with each problem at its place.
 */
export function readTemplate(path: string, isDirectory: boolean, stack: string | undefined): Template {
  if (!isDirectory) {
    const name = basename(path).replace(/(\.template)?\.[^.]+$/, '');
    return isCloudAssembly(dirname(path))
      ? readCloudAssembly(dirname(path), name)
      : parseTemplate(path, stack ?? name, {});
  }
  if (isCloudAssembly(path)) return readCloudAssembly(path, stack);
  const file = samFile(path) ?? badInput(`${path} has no template.yaml; run "sam build", or name the template`);
  return parseTemplate(file, stack ?? basename(dirname(file)), {});
}

const manifestSchema = z.looseObject({
  artifacts: z.record(
    z.string(),
    z.looseObject({ type: z.string(), properties: z.looseObject({ templateFile: z.string().optional() }).optional() }),
  ),
});
const assetsSchema = z.looseObject({
  files: z
    .record(
      z.string(),
      z.looseObject({
        source: z.looseObject({ path: z.string().optional() }),
        destinations: z.record(z.string(), z.looseObject({ objectKey: z.string() })),
      }),
    )
    .optional(),
});

function readCloudAssembly(directory: string, wanted: string | undefined): Template {
  const { artifacts } = readJson(manifestSchema, join(directory, MANIFEST));
  const stacks = Object.entries(artifacts).flatMap(([name, { type, properties }]) => {
    const file = properties?.templateFile;
    return type === 'aws:cloudformation:stack' && file !== undefined ? [{ name, file }] : [];
  });
  const names = stacks.map(({ name }) => name).join(', ');
  if (wanted === undefined && stacks.length > 1)
    badInput(`${directory} has several stacks; name one by --stack: ${names}`);
  const stack = stacks.find(({ name }) => wanted === undefined || name === wanted);
  if (stack === undefined) return badInput(`${directory} has no stack "${wanted ?? ''}"; it has: ${names || 'none'}`);
  const assets = new Map<string, string>();
  const file = join(directory, `${stack.name}.assets.json`);
  for (const { source, destinations } of Object.values(
    existsSync(file) ? (readJson(assetsSchema, file).files ?? {}) : {},
  )) {
    for (const { objectKey } of Object.values(destinations)) {
      if (source.path !== undefined) assets.set(objectKey, join(directory, source.path));
    }
  }
  return parseTemplate(join(directory, stack.file), stack.name, { assets });
}

function readJson<T>(schema: z.ZodType<T>, file: string): T {
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    return badInput(`${file} is not as "cdk synth" writes it; run that again`, error);
  }
}

function parseTemplate(
  path: string,
  stack: string,
  { assets }: { readonly assets?: ReadonlyMap<string, string> },
): Template {
  const problems: Problem[] = [];
  const source = YamlFile.read(path, path, problems, INTRINSIC_TAGS);
  const found = source && check(templateSchema, source.value, source, [], '', problems);
  if (source === null || found === null || problems.length > 0) return badInput(problems.map(formatProblem).join('\n'));
  const parameters = Object.entries(found.Parameters ?? {}).map(([name, { Type, Default, AllowedValues }]) => {
    return [name, { type: Type, fallback: Default ?? null, allowed: AllowedValues ?? null }] as const;
  });
  const resources = Object.entries(found.Resources).map(([id, { Type, Properties, Metadata, Condition }]) => {
    const resource = {
      type: Type,
      properties: Properties ?? {},
      metadata: Metadata ?? {},
      condition: Condition ?? null,
    };
    return [id, resource] as const;
  });
  const directory = dirname(path);
  return {
    stack,
    directory,
    isBuilt: assets !== undefined || /(^|\/)\.aws-sam(\/|$)/.test(directory),
    parameters: new Map(parameters),
    mappings: found.Mappings ?? {},
    conditions: new Map(Object.entries(found.Conditions ?? {})),
    globals: found.Globals?.Function ?? {},
    resources: new Map(resources),
    assets: assets ?? new Map(),
    refuse: (place, message) => badInput(formatProblem(source.problemAt(place, message))),
  };
}

/** `!Sub …` and the like are short for `{"Fn::Sub": …}`, on a text, a list or a map. */
const INTRINSIC_TAGS: readonly (ScalarTag | CollectionTag)[] = [
  ...['Ref', 'Condition'].map((name) => ({ name, key: name })),
  ...'And Base64 Cidr Equals FindInMap GetAtt GetAZs If ImportValue Join Length Not Or Select Split Sub ToJsonString Transform'
    .split(' ')
    .map((name) => ({ name, key: `Fn::${name}` })),
].flatMap(({ name, key }): (ScalarTag | CollectionTag)[] => {
  const of = (value: unknown): unknown => ({ [key]: value });
  return [
    { tag: `!${name}`, resolve: (text: string) => of(text) },
    { tag: `!${name}`, collection: 'seq', resolve: (node) => of(node.toJSON()) },
    { tag: `!${name}`, collection: 'map', resolve: (node) => of(node.toJSON()) },
  ];
});
