/** The Python functions that the tests of Lambda's style run: handlers that end in every way. */

export const lambdaPython: Readonly<Record<string, string>> = {
  'app.py': `
import functools, os, sys
from collections import namedtuple

class CustomException(Exception):
    pass

calls = 0

def echo(event, context):
    return event

def count(event, context):
    global calls
    calls += 1
    return calls

def members(event, context):
    return {
        "function_name": context.function_name,
        "function_version": context.function_version,
        "invoked_function_arn": context.invoked_function_arn,
        "memory_limit_in_mb": context.memory_limit_in_mb,
        "aws_request_id": context.aws_request_id,
        "log_group_name": context.log_group_name,
        "log_stream_name": context.log_stream_name,
        "tenant_id": context.tenant_id,
        "client_context": context.client_context and {
            "custom": context.client_context.custom,
            "env": context.client_context.env,
            "app_title": context.client_context.client.app_title,
        },
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "remaining": context.get_remaining_time_in_millis(),
    }

def shown(event, context):
    return repr(context)

def environment(event, context):
    return {"cwd": os.getcwd(), **os.environ}

def throws(event, context):
    raise CustomException("some error occurred")

def throws_empty(event, context):
    raise ValueError()

def none(event, context):
    pass

def a_set(event, context):
    return {1, 2}

def circular(event, context):
    result = []
    result.append(result)
    return result

def nan(event, context):
    return {"nan": float("nan"), "inf": float("inf")}

def raw(event, context):
    return b"\\x00\\xff{"

def decimals(event, context):
    from decimal import Decimal
    return [Decimal("1.10"), Decimal("NaN"), {"d": Decimal("12345678901234567890.5")}, "1.10"]

def nested_bytes(event, context):
    return {"text": "e".encode()}

def text(event, context):
    return {"text": "é", "list": [1, 2]}

def large(event, context):
    return "x" * event

def leaves(event, context):
    sys.stdout.write("bye")
    sys.exit(event)

def leaves_at_once(event, context):
    sys.stdout.write("bye")
    os._exit(event)

def killed(event, context):
    os.kill(os.getpid(), 9)

def frames(event, context):
    sys.stdout.buffer.write(b"\\x00\\x00\\x00\\x05\\x02\\x00\\x00{}" * 3)
    os.write(2, b"\\x00\\x00\\x00\\x03\\x14\\x00\\x00")
    return "real"

def logs(event, context):
    import logging
    logging.getLogger().setLevel("INFO")
    logging.info("from %s", "logging")
    logging.getLogger("named").error("oh\\nno")
    print("from print")
    context.log("from context")
    return None

def logs_errors(event, context):
    import logging
    root = logging.getLogger()
    root.setLevel("INFO")
    try:
        1 / event["zero"]
    except ZeroDivisionError:
        logging.exception("failed")
    logging.info("next")
    root.handlers[0].setFormatter(logging.Formatter("own: %(message)s"))
    logging.info("one")
    logging.info("two")

def logs_more(event, context):
    import logging
    root = logging.getLogger()
    root.setLevel("INFO")
    logging.addLevelName(25, "NOTICE")
    root.log(25, "noticed", extra={"order_id": 7, "nothing": None, "logger": "hidden", "tags": {"of": [1, Service]}})
    try:
        1 / event["zero"]
    except ZeroDivisionError:
        root.error("failed", exc_info=True)
    root.log(99, "no exception", exc_info=(None, None, None))

def one_parameter(event):
    return event

def no_parameter():
    return "never"

class Service:
    def one_parameter(self, event):
        return event

    def two_parameters(self, event, context):
        return [event, context.function_name]

    def __call__(self, event):
        return ["called", event]

bound_one = Service().one_parameter
bound_two = Service().two_parameters
callable_object = Service()

def answers(function):
    @functools.wraps(function)
    def wrapper(event, context):
        return {"body": function(event)}
    return wrapper

def unpacks(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        event, context = arguments
        return [function(event), context.function_name]
    return wrapper

class Decorator:
    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self, *arguments):
        event, context = arguments
        return [self.__wrapped__(event), context.function_name]

@answers
def decorated(event):
    return event

@unpacks
def decorated_unpacking(event):
    return event

@Decorator
def decorated_by_object(event):
    return event

not_callable = 42
nothing_at_all = None

class Stop(BaseException):
    pass

def stops(event, context):
    raise Stop("no exception")

def interrupted(event, context):
    raise KeyboardInterrupt()

def trace_context(event, context):
    fields = context.w3c()
    context.w3c()["more"] = 1
    client = context.client_context
    return [fields, context.w3c() == fields, client and client.custom, "w3c" in repr(context)]
`,
  'dir/mod.py': 'def answer(event, context):\n    return "from a directory"\n',
  'syntax.py': 'def handle(event, context)\n    return 1\n',
  'raises.py': 'raise Exception("Runtime startup fails")\n',
  'needs.py': 'import surely_not_there\n',
  'logs_early.py': 'import logging\nlogging.warning("early")\ndef handle(event, context):\n    return 1\n',
};
