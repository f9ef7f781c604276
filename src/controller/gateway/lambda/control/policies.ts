/**
 * Runs in snapctr. Whether statements of a function's policy let the holder of a key run it, which its own role and patterns do
 * not. A key is to policies what a user is to IAM: `arn:aws:iam::ACCOUNT:user/NAME`, or `*` for all keys. Statements with
 * conditions are for services of AWS, of which there are none here.
 */
import { PARTITION, type LambdaAccount } from '../../../../protocol/arn.ts';
import type { PolicyRecord, PolicyStatement } from '../../../../registry/records.ts';

const ACTIONS: ReadonlySet<string> = new Set(['lambda:InvokeFunction', 'lambda:*', '*']);

export function mayInvoke(policy: PolicyRecord | null, keyName: string, { accountId }: LambdaAccount): boolean {
  const user = `arn:${PARTITION}:iam::${accountId}:user/${keyName}`;
  return (policy?.statements ?? []).some(
    (one) => ACTIONS.has(one.action) && (one.principal === '*' || one.principal === user) && !hasCondition(one),
  );
}

function hasCondition(statement: PolicyStatement): boolean {
  const { sourceArn, sourceAccount, principalOrgId, eventSourceToken, functionUrlAuthType, invokedViaFunctionUrl } =
    statement;
  const conditions = [sourceArn, sourceAccount, principalOrgId, eventSourceToken, functionUrlAuthType];
  return conditions.some((one) => one !== null) || invokedViaFunctionUrl === true;
}
