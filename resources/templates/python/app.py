"""Answers with a greeting."""


def handler(event, context):
    """`event` is what the caller sends, `context` tells of the invocation."""
    print('invocation', context.aws_request_id)
    return {'greeting': f'Hello, {event.get("name", "world")}!'}
