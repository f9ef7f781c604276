"""AWS_LAMBDA_EXEC_WRAPPER: a program of the function's that is started in place of the runtime, with the runtime's command as
its arguments. It may change the environment and the command before it starts that.

The runtime that it starts is this one once more, in a fresh interpreter: it finds its channels where they were, and LOAD in
a file, since init has sent that already.
"""
import json
import os
import sys

from snapfaas_output import leave

VARIABLE = 'AWS_LAMBDA_EXEC_WRAPPER'
LOAD_FD_VARIABLE = '_SNAPFAAS_LOAD_FD'
# Behind the channels.
LOAD_FD = 5
CANNOT_START = 127


def take_load():
    """The LOAD that a wrapper's runtime was started with; None: this one was started by init."""
    fd = os.environ.pop(LOAD_FD_VARIABLE, None)
    if fd is None:
        return None
    with open(int(fd), encoding='utf-8') as file:
        request = json.load(file)
    # The environment is the wrapper's now, and the handler is taken from there.
    return {**request, 'is_wrapped': True, 'handler': os.environ.get('_HANDLER', request['handler'])}


def start_wrapper(request, function_channel, control):
    """Becomes the wrapper. The function's environment is set."""
    wrapper = os.environ[VARIABLE]
    try:
        file = os.memfd_create('load', 0)
        os.write(file, json.dumps(request).encode())
        os.lseek(file, 0, os.SEEK_SET)
        for source, target in ((file, LOAD_FD), (function_channel.fd, 3), (control.fd, 4)):
            os.dup2(source, target)
        os.chdir(request['root'])
        flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
        command = [sys.executable, *flags, os.path.abspath(sys.argv[0])]
        os.execve(wrapper, [wrapper, *command], {**os.environ, LOAD_FD_VARIABLE: str(LOAD_FD)})
    except (OSError, ValueError, AttributeError) as error:
        os.write(2, ('snapfaas: %s: %s cannot be started: %s\n' % (VARIABLE, wrapper, error)).encode())
        leave(CANNOT_START)
