/** Runs in the commands of people. What a controller answers, as far as it is read. Source: the service model of AWS Lambda. */
import { z } from 'zod';

const failure = z.looseObject({ Message: z.string().optional(), message: z.string().optional() });
export const errorSchema = failure;

export const configurationSchema = z.looseObject({
  FunctionName: z.string(),
  FunctionArn: z.string(),
  Version: z.string(),
  Runtime: z.string().optional(),
  Handler: z.string().optional(),
  Description: z.string().optional(),
  MemorySize: z.number().optional(),
  Timeout: z.number().optional(),
  CodeSize: z.number().optional(),
  CodeSha256: z.string().optional(),
  LastModified: z.string().optional(),
  RevisionId: z.string().optional(),
  State: z.string().optional(),
  StateReason: z.string().optional(),
  StateReasonCode: z.string().optional(),
  LastUpdateStatus: z.string().optional(),
  LastUpdateStatusReason: z.string().optional(),
  LastUpdateStatusReasonCode: z.string().optional(),
  Environment: z.looseObject({ Variables: z.record(z.string(), z.string()).optional() }).optional(),
  Layers: z.array(z.looseObject({ Arn: z.string() })).optional(),
});
export type FunctionConfiguration = z.infer<typeof configurationSchema>;

export const functionSchema = z.looseObject({
  Configuration: configurationSchema,
  Code: z.looseObject({ Location: z.string().optional() }).optional(),
});
export type FunctionDescription = z.infer<typeof functionSchema>;

export const functionsPageSchema = z.looseObject({
  Functions: z.array(configurationSchema),
  NextMarker: z.string().nullish(),
});

export const versionsPageSchema = z.looseObject({
  Versions: z.array(configurationSchema),
  NextMarker: z.string().nullish(),
});

export const aliasSchema = z.looseObject({
  Name: z.string(),
  AliasArn: z.string().optional(),
  FunctionVersion: z.string(),
  Description: z.string().optional(),
  RoutingConfig: z.looseObject({ AdditionalVersionWeights: z.record(z.string(), z.number()).nullish() }).nullish(),
});
export type Alias = z.infer<typeof aliasSchema>;

export const aliasesPageSchema = z.looseObject({ Aliases: z.array(aliasSchema), NextMarker: z.string().nullish() });

export const layerVersionSchema = z.looseObject({
  LayerVersionArn: z.string(),
  Version: z.number(),
  Content: z.looseObject({ CodeSha256: z.string().optional() }).optional(),
});
export type LayerVersion = z.infer<typeof layerVersionSchema>;

export const layerVersionsPageSchema = z.looseObject({
  LayerVersions: z.array(z.looseObject({ Version: z.number() })),
});

export const functionUrlSchema = z.looseObject({ FunctionUrl: z.string(), FunctionArn: z.string() });
export type FunctionUrl = z.infer<typeof functionUrlSchema>;

export const eventSourceSchema = z.looseObject({
  UUID: z.string(),
  EventSourceArn: z.string(),
  State: z.string(),
  Topics: z.array(z.string()).nullish(),
});
export type EventSourceMapping = z.infer<typeof eventSourceSchema>;
export const eventSourcesPageSchema = z.looseObject({ EventSourceMappings: z.array(eventSourceSchema) });
