"""What the function prints and what is logged in its name; the end of the process, before which all of it is written."""
import _signal as signal  # what is in C of it: a file of the function may be named signal.py
import fcntl
import io
import os
import select
import sys

from snapfaas_channel import LOG, LOWEST_FD, wait_for

# A frame to init has at most 64 KiB.
MAX_LOG_BYTES = 60000


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
        if FrameOutput.is_forked:
            return os.write(self.fileno(), data)
        piece = bytes(data[:MAX_LOG_BYTES])
        header = b'{"request":%d,"stream":"%s"}' % (FrameOutput.invocation, self.stream.encode())
        self.control.write_frame(LOG, piece, header)
        return len(piece)


FrameOutput.invocation = 0
# A forked copy has no channel.
FrameOutput.is_forked = False


class OwnLog:
    """Where lines go that are logged for the function, rather than printed by it: past its streams and its descriptor 1,
    which it may close, replace or have captured."""

    fd = None
    frames = None

    @classmethod
    def open(cls):
        """Before the function's code runs."""
        cls.fd = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)

    @classmethod
    def write(cls, text):
        """Behind what was printed so far. What cannot be written is lost: the function goes on."""
        flush()
        data = text.encode('utf-8', 'backslashreplace')
        try:
            while data:
                data = data[cls.write_some(data) :]
        except (OSError, ValueError):
            pass  # the function closed even this, or the host is gone

    @classmethod
    def write_some(cls, data):
        if cls.frames is not None:
            return cls.frames.write(data)
        try:
            return os.write(cls.fd, data)
        except BlockingIOError:
            wait_for(cls.fd, select.POLLOUT)
            return 0


def send_output_as_frames(control):
    flush()
    for name in ('stdout', 'stderr'):
        buffered = io.BufferedWriter(FrameOutput(control, name))
        text = io.TextIOWrapper(buffered, encoding='utf-8', errors='backslashreplace', line_buffering=True)
        setattr(sys, name, text)
        setattr(sys, '__%s__' % name, text)
    OwnLog.frames = FrameOutput(control, 'stdout')


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


def leave_uncaught(error):
    """What Python itself makes of an exception that nobody catches: says it on stderr, and ends by the signal that asked for
    an interrupt."""
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:
        pass  # the function has a hook of its own, or closed its output
    if isinstance(error, KeyboardInterrupt):
        flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)
    leave(1)


def leave(status):
    """Ends the process at once: neither threads nor exit hooks of the function can delay it."""
    flush()
    os._exit(status)
