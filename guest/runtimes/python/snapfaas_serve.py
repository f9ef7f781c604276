"""Invocations. The path of a warm one is `serve`: one read, one call of the style's `invoke`, one or two writes."""
import json

from snapfaas_channel import DONE, DONE_FRAME, DRAINED, INVOKE, REHEARSE, ChannelLost
from snapfaas_output import FrameOutput, flush


def serve(function_channel, control, style, handle, tells_done):
    drained_due = False
    while True:
        kind, header, payload = function_channel.read_frame()
        fields = json.loads(bytes(header) or b'{}')
        if kind == INVOKE:
            if drained_due:
                wait_until_drained(control)
            FrameOutput.invocation += 1
            answer = style.invoke(handle, fields, payload)
        elif kind == REHEARSE:
            answer = style.invoke(style.return_event, fields, payload)
        else:
            raise ChannelLost('expected INVOKE, got a frame of type %d' % kind)
        header = payload = None
        flush()
        function_channel.write_frame(*answer)
        answer = None
        if kind == INVOKE:
            if fields.get('log_end'):
                control.write_frame(DONE, header=b'{"log_end":true,"request":%d}' % FrameOutput.invocation)
            elif tells_done:
                control.write(DONE_FRAME)
            drained_due = tells_done


def wait_until_drained(control):
    """Blocks until init has collected what the last invocation printed, so that this one's output starts clean."""
    kind, _, _ = control.read_frame()
    if kind != DRAINED:
        raise ChannelLost('expected DRAINED, got a frame of type %d' % kind)
