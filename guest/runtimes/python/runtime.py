"""SnapFaaS's Python runtime: loads one function and answers its invocations, one at a time, while the VM lives.

Started by init (or by the `process` driver) with two inherited descriptors, both carrying frames:

    fd 3  function channel   host -> INVOKE, REHEARSE              RESULT | FAILURE -> host
    fd 4  control channel    init -> LOAD, SEAL, START, DRAINED    HELLO, LOADED, SEALED, STARTED, DONE -> init

What a function may rely on is in guest/CONTRACT.md. Python >= 3.9, standard library only. Modules, in the order in which
they act:

    snapfaas_channel     frames
    snapfaas_load        LOAD: imports the handler
    snapfaas_original    how it is called, and what becomes of what it does: handlers of the original's style
    snapfaas_lambda      the same for AWS Lambda's, with snapfaas_lambda_json and snapfaas_lambda_log
    snapfaas_snapshot    SEAL and START: all between the import and the first invocation; snapshot_restore_py has the hooks
    snapfaas_serve       INVOKE
    snapfaas_context     the handler's second argument
    snapfaas_failure     exceptions as the host gets them
    snapfaas_output      what the function prints; the end of the process

All are imported here, before the function is: those that only failures need (`traceback`) when a failure happens.
"""
import json
import os
import sys

from snapfaas_channel import HELLO, LOAD, LOAD_FAILED, LOADED, Channel, ChannelLost, HostGone
from snapfaas_lambda import LambdaStyle
from snapfaas_load import load
from snapfaas_original import OriginalStyle
from snapfaas_output import exit_status, flush, leave, send_output_as_frames
from snapfaas_serve import serve
from snapfaas_snapshot import wait_for_start

PROTOCOL_VERSION = 3


def main():
    function_channel, control = Channel(3), Channel(4)
    # A forked copy of this process (multiprocessing) must never answer in its name.
    os.register_at_fork(after_in_child=lambda: (function_channel.close(), control.close()))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding='utf-8', errors='backslashreplace', line_buffering=True)
    version = '%d.%d.%d' % sys.version_info[:3]
    hello = {'protocol': PROTOCOL_VERSION, 'runtime': 'python3', 'version': version}
    control.write_frame(HELLO, header=json.dumps(hello).encode())

    kind, _, payload = control.read_frame()
    if kind != LOAD:
        raise ChannelLost('expected LOAD, got a frame of type %d' % kind)
    request = json.loads(bytes(payload))
    if request['output'] == 'frames':
        send_output_as_frames(control)
    style = (LambdaStyle if request['style'] == 'lambda' else OriginalStyle)(request)
    try:
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


if __name__ == '__main__':
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
