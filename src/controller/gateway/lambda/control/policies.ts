/**
 * Runs in snapctr. Whether statements of a function's policy let the holder of a key run it, which its own role and patterns do
 * not. A key is to policies what a user is to IAM: `arn:aws:iam::ACCOUNT:user/NAME`, or `*` for all keys. Statements with
 * conditions are for services of AWS, of which there are none here.
 */
import { PARTITION, type LambdaAccount } from '../../../../protocol/arn.ts';
import type { PolicyRecord, PolicyStatement } from '../../../../registry/records.ts';

type InvokeAction = 'lambda:InvokeFunction' | 'lambda:InvokeFunctionUrl';

export function mayInvoke(
  policy: PolicyRecord | null,
  keyName: string,
  { accountId }: LambdaAccount,
  action: InvokeAction = 'lambda:InvokeFunction',
): boolean {
  const user = `arn:${PARTITION}:iam::${accountId}:user/${keyName}`;
  return (policy?.statements ?? []).some(
    (one) =>
      [action, 'lambda:*', '*'].includes(one.action) &&
      (one.principal === '*' || one.principal === user) &&
      !hasCondition(one, action === 'lambda:InvokeFunctionUrl'),
  );
}

/** @param isUrl conditions on the way by a URL that wants signatures hold. */
function hasCondition(statement: PolicyStatement, isUrl: boolean): boolean {
  const { sourceArn, sourceAccount, principalOrgId, eventSourceToken, functionUrlAuthType, invokedViaFunctionUrl } =
    statement;
  const conditions = [sourceArn, sourceAccount, principalOrgId, eventSourceToken];
  if (conditions.some((one) => one !== null)) return true;
  return (
    (functionUrlAuthType !== null && !(isUrl && functionUrlAuthType === 'AWS_IAM')) ||
    (invokedViaFunctionUrl === true && !isUrl)
  );
}
