/**
 * Runs in snapctr. Who may do what: the table of operations, the roles, and the functions that a key is for. Another operation
 * is another row. `docs/access.md` shows the same table; a test compares the two.
 */

/** Each may also do what those before it may. */
export const ROLES = ['invoke', 'deploy', 'admin'] as const;
export type Role = (typeof ROLES)[number];

interface OperationRow {
  /** The first role that may. */
  readonly least: Role;
  /**
   * What it is done to. `function` and `layer`: one, whose name must be one of the key's; `functions` and `layers`: all, of which the
   * caller is shown the key's; `host`: what concerns none alone.
   */
  readonly on: 'function' | 'functions' | 'layer' | 'layers' | 'host';
}

/** By the names that IAM policies have for them, where they have one. */
export const OPERATIONS = {
  'lambda:InvokeFunction': { least: 'invoke', on: 'function' },
  'lambda:InvokeFunctionUrl': { least: 'invoke', on: 'function' },
  'lambda:ListFunctions': { least: 'deploy', on: 'functions' },
  'lambda:GetFunction': { least: 'deploy', on: 'function' },
  'lambda:GetFunctionConfiguration': { least: 'deploy', on: 'function' },
  'lambda:CreateFunction': { least: 'deploy', on: 'function' },
  'lambda:UpdateFunctionCode': { least: 'deploy', on: 'function' },
  'lambda:UpdateFunctionConfiguration': { least: 'deploy', on: 'function' },
  'lambda:DeleteFunction': { least: 'deploy', on: 'function' },
  'lambda:PublishVersion': { least: 'deploy', on: 'function' },
  'lambda:ListVersionsByFunction': { least: 'deploy', on: 'function' },
  'lambda:CreateAlias': { least: 'deploy', on: 'function' },
  'lambda:GetAlias': { least: 'deploy', on: 'function' },
  'lambda:UpdateAlias': { least: 'deploy', on: 'function' },
  'lambda:DeleteAlias': { least: 'deploy', on: 'function' },
  'lambda:ListAliases': { least: 'deploy', on: 'function' },
  'lambda:ListTags': { least: 'deploy', on: 'function' },
  'lambda:TagResource': { least: 'deploy', on: 'function' },
  'lambda:UntagResource': { least: 'deploy', on: 'function' },
  'lambda:PutFunctionConcurrency': { least: 'deploy', on: 'function' },
  'lambda:GetFunctionConcurrency': { least: 'deploy', on: 'function' },
  'lambda:DeleteFunctionConcurrency': { least: 'deploy', on: 'function' },
  'lambda:PutProvisionedConcurrencyConfig': { least: 'deploy', on: 'function' },
  'lambda:GetProvisionedConcurrencyConfig': { least: 'deploy', on: 'function' },
  'lambda:DeleteProvisionedConcurrencyConfig': { least: 'deploy', on: 'function' },
  'lambda:ListProvisionedConcurrencyConfigs': { least: 'deploy', on: 'function' },
  'lambda:AddPermission': { least: 'deploy', on: 'function' },
  'lambda:GetPolicy': { least: 'deploy', on: 'function' },
  'lambda:RemovePermission': { least: 'deploy', on: 'function' },
  'lambda:GetFunctionCodeSigningConfig': { least: 'deploy', on: 'function' },
  'lambda:CreateFunctionUrlConfig': { least: 'deploy', on: 'function' },
  'lambda:GetFunctionUrlConfig': { least: 'deploy', on: 'function' },
  'lambda:UpdateFunctionUrlConfig': { least: 'deploy', on: 'function' },
  'lambda:DeleteFunctionUrlConfig': { least: 'deploy', on: 'function' },
  'lambda:ListFunctionUrlConfigs': { least: 'deploy', on: 'function' },
  'lambda:PutFunctionEventInvokeConfig': { least: 'deploy', on: 'function' },
  'lambda:UpdateFunctionEventInvokeConfig': { least: 'deploy', on: 'function' },
  'lambda:DeleteFunctionEventInvokeConfig': { least: 'deploy', on: 'function' },
  'lambda:GetFunctionEventInvokeConfig': { least: 'deploy', on: 'function' },
  'lambda:ListFunctionEventInvokeConfigs': { least: 'deploy', on: 'function' },
  'lambda:GetRuntimeManagementConfig': { least: 'deploy', on: 'function' },
  'lambda:GetFunctionRecursionConfig': { least: 'deploy', on: 'function' },
  'lambda:PublishLayerVersion': { least: 'deploy', on: 'layer' },
  'lambda:GetLayerVersion': { least: 'deploy', on: 'layer' },
  'lambda:DeleteLayerVersion': { least: 'deploy', on: 'layer' },
  'lambda:ListLayerVersions': { least: 'deploy', on: 'layer' },
  'lambda:ListLayers': { least: 'deploy', on: 'layers' },
  'lambda:GetAccountSettings': { least: 'deploy', on: 'host' },
  'lambda:CreateEventSourceMapping': { least: 'deploy', on: 'function' },
  'lambda:GetEventSourceMapping': { least: 'deploy', on: 'function' },
  'lambda:UpdateEventSourceMapping': { least: 'deploy', on: 'function' },
  'lambda:DeleteEventSourceMapping': { least: 'deploy', on: 'function' },
  'lambda:ListEventSourceMappings': { least: 'deploy', on: 'functions' },
  'logs:DescribeLogGroups': { least: 'deploy', on: 'functions' },
  'logs:DescribeLogStreams': { least: 'deploy', on: 'function' },
  'logs:FilterLogEvents': { least: 'deploy', on: 'function' },
  'logs:GetLogEvents': { least: 'deploy', on: 'function' },
  'logs:StartLiveTail': { least: 'deploy', on: 'function' },
  'snapfaas:ListEvents': { least: 'deploy', on: 'functions' },
  'snapfaas:GetEvent': { least: 'deploy', on: 'function' },
  'snapfaas:RedriveEvents': { least: 'deploy', on: 'function' },
  'snapfaas:PurgeEvents': { least: 'deploy', on: 'function' },
  'snapfaas:ListSchedules': { least: 'deploy', on: 'functions' },
  'snapfaas:GetSchedule': { least: 'deploy', on: 'function' },
  'snapfaas:PutSchedule': { least: 'deploy', on: 'function' },
  'snapfaas:DeleteSchedule': { least: 'deploy', on: 'function' },
  'snapfaas:GetInvocation': { least: 'deploy', on: 'function' },
  'snapfaas:ListInvocations': { least: 'deploy', on: 'functions' },
  'snapfaas:ReadMetrics': { least: 'invoke', on: 'host' },
  'snapfaas:ReadStatus': { least: 'admin', on: 'host' },
} as const satisfies Record<string, OperationRow>;

export type Operation = keyof typeof OPERATIONS;

/** Whether a role may do an operation at all. */
export function roleMay(role: Role, operation: Operation): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(OPERATIONS[operation].least);
}

/** A name of functions, in which `*` stands for any characters, or none. */
export const FUNCTION_PATTERN = /^[a-zA-Z0-9._*-]{1,128}$/;

/** Whether a name is one that a pattern means. Takes at most name × pattern steps, whatever they are. */
export function matchesPattern(pattern: string, name: string): boolean {
  let at = 0;
  let of = 0;
  let star = -1;
  let resumeAt = 0;
  while (at < name.length) {
    if (pattern[of] === '*') {
      star = of;
      of += 1;
      resumeAt = at;
    } else if (pattern[of] === name[at]) {
      at += 1;
      of += 1;
    } else if (star !== -1) {
      // The star takes one character more.
      of = star + 1;
      resumeAt += 1;
      at = resumeAt;
    } else return false;
  }
  while (pattern[of] === '*') of += 1;
  return of === pattern.length;
}
