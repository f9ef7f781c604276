"""AWS_LAMBDA_EXEC_WRAPPER: a program of the function's that is started in place of the runtime, with the runtime's command as
its arguments. It may change the environment and the command before it starts that. And variables of the function's that the
interpreter reads only when it starts: it starts once more, without a wrapper.

The runtime that is started is this one once more, in a fresh interpreter: it finds its channels where they were, and LOAD in
a file, since init has sent that already.
"""
import json
import os
import sys

from snapfaas_output import leave

VARIABLE = 'AWS_LAMBDA_EXEC_WRAPPER'
LOAD_FD_VARIABLE = '_SNAPFAAS_LOAD_FD'
READ_AT_START = frozenset(
    'GLIBC_TUNABLES LD_PRELOAD MALLOC_ARENA_MAX MALLOC_TRIM_THRESHOLD_ PYTHONDEVMODE PYTHONFAULTHANDLER PYTHONHASHSEED'
    ' PYTHONINTMAXSTRDIGITS PYTHONMALLOC PYTHONNODEBUGRANGES PYTHONOPTIMIZE PYTHONPROFILEIMPORTTIME PYTHONTRACEMALLOC'
    ' PYTHONUTF8 PYTHONVERBOSE PYTHONWARNINGS'.split()
)
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


def wrapper_of(request):
    return os.environ.get(VARIABLE) if request['style'] == 'lambda' else None


def has_to_start_again(request):
    if 'is_wrapped' in request:
        return False
    return bool(wrapper_of(request)) or any(request['environment'].get(name) for name in READ_AT_START)


def start_again(request, function_channel, control):
    """Becomes the wrapper, or the runtime once more. The function's environment is set."""
    wrapper = wrapper_of(request)
    try:
        file = os.memfd_create('load', 0)
        os.write(file, json.dumps(request).encode())
        os.lseek(file, 0, os.SEEK_SET)
        for source, target in ((file, LOAD_FD), (function_channel.fd, 3), (control.fd, 4)):
            os.dup2(source, target)
        os.chdir(request['root'])
        flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
        command = [sys.executable, *flags, os.path.abspath(sys.argv[0])]
        command = [wrapper, *command] if wrapper else command
        os.execve(command[0], command, {**os.environ, LOAD_FD_VARIABLE: str(LOAD_FD)})
    except (OSError, ValueError, AttributeError) as error:
        what = '%s: %s' % (VARIABLE, wrapper) if wrapper else sys.executable
        os.write(2, ('snapfaas: %s cannot be started: %s\n' % (what, error)).encode())
        leave(CANNOT_START)
