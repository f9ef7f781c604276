"""Exceptions of the function as the host gets them."""
import importlib
import json
import os

# Where the runtime's own modules lie, with the separator.
OWN_DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), '')

# init accepts no larger frame from a runtime; failures of the handler keep to it as well.
MAX_FAILURE_BYTES = 60000


def failure(kind, message, stack=(), **more):
    """A `FunctionFailure` as JSON, cut where it would be larger than a frame of the control channel may be."""
    encoded = json.dumps({'type': kind, 'message': message, 'stack': stack, **more}).encode()
    if len(encoded) > MAX_FAILURE_BYTES:
        short = [line[:100] for line in stack[-20:]]
        encoded = json.dumps({'type': kind[:100], 'message': message[:2000] + ' [cut]', 'stack': short}).encode()
    return encoded


def describe(error, stack_of=None):
    """An exception as a failure. Its own methods may be broken and memory may be short: something is always said."""
    kind = 'Error'
    try:
        kind = type(error).__name__
        return failure(kind, str(error), (stack_of or own_frames)(error))
    except BaseException:
        return failure(kind, 'the error could not be described')


def own_frames(error):
    """The traceback's lines, outermost first, without those of the runtime and of Python's import machinery."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = (OWN_DIRECTORY, importlib.__file__, '<frozen importlib')
    kept = [f for f in frames if not f.filename.startswith(ours)]
    return [line.rstrip('\n') for line in traceback.StackSummary.from_list(kept).format()]
