"""What the function prints, and the end of the process, before which all of it is written."""
import io
import os
import sys

from snapfaas_channel import LOG


class FrameOutput(io.RawIOBase):
    """A standard stream whose bytes go to init as LOG frames that name the invocation."""

    def __init__(self, control, stream):
        self.control = control
        self.stream = stream

    def writable(self):
        return True

    def fileno(self):
        return 1 if self.stream == 'stdout' else 2

    def write(self, data):
        header = b'{"request":%d,"stream":"%s"}' % (FrameOutput.invocation, self.stream.encode())
        self.control.write_frame(LOG, bytes(data), header)
        return len(data)


FrameOutput.invocation = 0


def send_output_as_frames(control):
    flush()
    for name in ('stdout', 'stderr'):
        buffered = io.BufferedWriter(FrameOutput(control, name))
        text = io.TextIOWrapper(buffered, encoding='utf-8', errors='backslashreplace', line_buffering=True)
        setattr(sys, name, text)
        setattr(sys, '__%s__' % name, text)


def write_at_once():
    """Each write is written to its pipe, as Lambda does it: a process that is killed leaves nothing unsaid."""
    flush()
    for name, fd in (('stdout', 1), ('stderr', 2)):
        raw = io.FileIO(fd, 'w', closefd=False)
        text = io.TextIOWrapper(raw, encoding='utf-8', errors='backslashreplace', write_through=True)
        setattr(sys, name, text)
        setattr(sys, '__%s__' % name, text)


def flush():
    """Output is written line by line; this writes a line's beginning. What the function closed stays closed."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass


def exit_status(error):
    """What Python itself makes of `sys.exit(code)`."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    try:
        sys.__stderr__.write('%s\n' % error.code)
    except (OSError, ValueError, AttributeError):
        pass
    return 1


def uncaught_status(error):
    """What Python itself makes of an exception that nobody catches: says it on stderr."""
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:
        pass  # the function has a hook of its own, or closed its output
    return 1


def leave(status):
    """Ends the process at once: neither threads nor exit hooks of the function can delay it."""
    flush()
    os._exit(status)
