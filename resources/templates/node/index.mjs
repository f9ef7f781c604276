/** Answers with a greeting. `event` is what the caller sends, `context` tells of the invocation. */
export const handler = async (event, context) => {
  console.log('invocation', context.awsRequestId);
  return { greeting: `Hello, ${event.name ?? 'world'}!` };
};
