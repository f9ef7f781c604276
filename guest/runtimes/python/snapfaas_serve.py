"""Invocations. The path of a warm one is `serve`: one read, one call, two writes."""
import json
import time

from snapfaas_channel import DONE_FRAME, DRAINED, FAILURE, INVOKE, REHEARSE, RESULT, ChannelLost
from snapfaas_failure import describe, failure
from snapfaas_output import FrameOutput, exit_status, flush, leave


class Context:
    """What Lambda-style handlers get as their second argument."""

    __slots__ = ('aws_request_id', 'function_name', 'memory_limit_in_mb', '_deadline_ms')

    def __init__(self, header, function_name, memory_limit_in_mb):
        fields = json.loads(bytes(header) or b'{}')
        self.aws_request_id = fields.get('id', '')
        self.function_name = function_name
        self.memory_limit_in_mb = memory_limit_in_mb
        self._deadline_ms = fields.get('deadline_ms', 0)

    def get_remaining_time_in_millis(self):
        return max(0, int(self._deadline_ms - time.time() * 1000))


def invoker(request, wants_context):
    """Makes the function that runs a handler on one event: returns the type and the payload of the answer."""
    function_name, memory = request['function'], str(request['memory_mib'])
    max_result_bytes = request['max_result_bytes']
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode

    def invoke(handle, header, payload):
        try:
            event = json.loads(str(payload, 'utf-8'))
        except (ValueError, RecursionError) as error:
            return FAILURE, failure('Runtime.UnmarshalError', 'Unable to unmarshal input: %s' % error)
        try:
            if wants_context:
                result = handle(event, Context(header, function_name, memory))
            else:
                result = handle(event)
        except SystemExit as error:
            leave(exit_status(error))
        except BaseException as error:
            return FAILURE, describe(error)
        try:
            answer = encode(result).encode('utf-8')
        except Exception as error:  # the result's own methods run in there
            return FAILURE, failure('Runtime.MarshalError', 'Unable to marshal response: %s' % error)
        if len(answer) > max_result_bytes:
            message = 'The result has %d bytes; at most %d are allowed.' % (len(answer), max_result_bytes)
            return FAILURE, failure('Function.ResponseSizeTooLarge', message)
        return RESULT, answer

    return invoke


def identity(event, context=None):
    """The handler of a rehearsal."""
    return event


def serve(function_channel, control, invoke, handle, tells_done):
    drained_due = False
    while True:
        kind, header, payload = function_channel.read_frame()
        if kind == INVOKE:
            if drained_due:
                wait_until_drained(control)
            FrameOutput.invocation += 1
            answer_kind, answer = invoke(handle, header, payload)
        elif kind == REHEARSE:
            answer_kind, answer = invoke(identity, header, payload)
        else:
            raise ChannelLost('expected INVOKE, got a frame of type %d' % kind)
        header = payload = None
        flush()
        function_channel.write_frame(answer_kind, answer)
        if tells_done and kind == INVOKE:
            control.write(DONE_FRAME)
            drained_due = True


def wait_until_drained(control):
    """Blocks until init has collected what the last invocation printed, so that this one's output starts clean."""
    kind, _, _ = control.read_frame()
    if kind != DRAINED:
        raise ChannelLost('expected DRAINED, got a frame of type %d' % kind)
