"""The life of the runtime, from HELLO to the last invocation."""
import json
import os
import sys

import snapfaas_generators
from snapfaas_channel import HELLO, LOAD, LOAD_FAILED, LOADED, SEAL, Channel, ChannelLost, HostGone
from snapfaas_lambda import LambdaStyle
from snapfaas_load import load
from snapfaas_original import OriginalStyle
from snapfaas_output import FrameOutput, OwnLog, exit_status, flush, leave, send_output_as_frames
from snapfaas_serve import serve
from snapfaas_snapshot import Clock, renew, wait_for_start, write_sealed
from snapfaas_wrapper import has_to_start_again, start_again, take_load

PROTOCOL_VERSION = 6


def main():
    function_channel, control = Channel(3), Channel(4)
    OwnLog.open()

    def in_forked_copy():
        """A copy of this process (multiprocessing) must never answer in its name."""
        function_channel.close()
        control.close()
        FrameOutput.is_forked = True

    os.register_at_fork(after_in_child=in_forked_copy)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding='utf-8', errors='backslashreplace', line_buffering=True)
    request = take_load() or receive_load(control)
    renew()
    Clock.note()
    snapfaas_generators.note()
    if request['output'] == 'frames':
        send_output_as_frames(control)
    style = (LambdaStyle if request['style'] == 'lambda' else OriginalStyle)(request)
    try:
        style.set_environment()
        if has_to_start_again(request):
            start_again(request, function_channel, control)
        handle = load(request, style)
    except SystemExit as error:
        leave(exit_status(error))
    except BaseException as error:  # whatever the function's import raises is reported, then this process is of no use
        failure = style.describe_load_failure(error)
        flush()
        control.write_frame(LOAD_FAILED, failure)
        leave(1)
    flush()
    control.write_frame(LOADED)
    wait_for_start(control, style)
    serve(function_channel, control, style, handle, request['output'] == 'pipes')


def receive_load(control):
    version = '%d.%d.%d' % sys.version_info[:3]
    hello = {'protocol': PROTOCOL_VERSION, 'runtime': 'python3', 'version': version}
    control.write_frame(HELLO, header=json.dumps(hello).encode())
    kind, _, payload = control.read_frame()
    while kind == SEAL:  # before the base layer
        snapfaas_generators.seal()
        write_sealed(control)
        kind, _, payload = control.read_frame()
    if kind != LOAD:
        raise ChannelLost('expected LOAD, got a frame of type %d' % kind)
    return json.loads(bytes(payload))


def run():
    try:
        main()
    except HostGone:
        leave(0)
    except (OSError, ChannelLost, MemoryError) as lost:
        try:
            sys.__stderr__.write('snapfaas: the runtime lost its channel: %s\n' % lost)
        except (OSError, ValueError, AttributeError):
            pass
        leave(1)
