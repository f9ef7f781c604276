"""SnapFaaS's Python runtime: loads one function and answers its invocations, one at a time, while the VM lives.

Started by init (or by the `process` driver) with two inherited descriptors, both carrying frames:

    fd 3  function channel   host -> INVOKE           RESULT | FAILURE -> host
    fd 4  control channel    init -> LOAD, DRAINED    HELLO, LOADED | LOAD_FAILED, DONE -> init

    0            4        5              7                7+H               4+N
    | N u32 BE   | type   | H u16 BE     | header, JSON   | payload         |

What a function may rely on is in guest/CONTRACT.md. Python >= 3.9, standard library only. The path of a warm request
is `serve`: one read, one call, two writes; modules that only failures need are imported when a failure happens.
"""
import fcntl
import gc
import importlib
import io
import json
import os
import stat
import sys
import time

INVOKE, RESULT, FAILURE = 1, 2, 3
HELLO, LOAD, LOADED, LOAD_FAILED, DONE, DRAINED, LOG = 16, 17, 18, 19, 20, 21, 22

PROTOCOL_VERSION = 1
PREFIX_BYTES = 7
BUFFER_BYTES = 64 * 1024
MAX_FRAME_BYTES = 6 * 1024 * 1024 + 128 * 1024
# init accepts no larger frame from a runtime; failures of the handler keep to it as well.
MAX_FAILURE_BYTES = 60000
# The descriptors are moved up here, so that a function that closes "all" low ones still gets its answer out.
LOWEST_FD = 200

DONE_FRAME = b'\x00\x00\x00\x03\x14\x00\x00'
DRAINED_FRAME = b'\x00\x00\x00\x03\x15\x00\x00'


class ChannelLost(Exception):
    """A channel is closed, replaced, or carried bytes that are no frame: nobody can be answered any more."""


class Channel:
    """Frames on one descriptor. Reads into one buffer that is used again for every frame that fits."""

    def __init__(self, inherited_fd):
        # Close-on-exec: programs the function starts must not hold the channels.
        self.fd = fcntl.fcntl(inherited_fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
        os.close(inherited_fd)
        self.identity = self._identify()
        self.small = bytearray(BUFFER_BYTES)
        self.small_view = memoryview(self.small)
        self.start = 0  # of the bytes in `small` that belong to the next frame
        self.end = 0

    def _identify(self):
        status = os.fstat(self.fd)
        return status.st_mode, status.st_dev, status.st_ino

    def read_frame(self):
        """Blocks until a frame is there. Returns (type, header, payload): views, valid until the next call."""
        view, start, end = self.small_view, self.start, self.end
        if start == end:
            start, end = 0, self._read(view)
        while end - start < PREFIX_BYTES:
            if start:
                self.small[: end - start] = bytes(view[start:end])
                start, end = 0, end - start
            end += self._read(view[end:])
        wanted = 4 + int.from_bytes(view[start : start + 4], 'big')
        header_end = PREFIX_BYTES + int.from_bytes(view[start + 5 : start + 7], 'big')
        if wanted > 4 + MAX_FRAME_BYTES or header_end > wanted:
            raise ChannelLost('a frame of %d bytes with a header of %d' % (wanted - 4, header_end - PREFIX_BYTES))
        have = end - start
        if have >= wanted:
            frame = view[start : start + wanted]
            self.start, self.end = start + wanted, end
        else:
            large = wanted > BUFFER_BYTES
            if large:
                frame = memoryview(bytearray(wanted))
                frame[:have] = view[start:end]
            else:
                self.small[:have] = bytes(view[start:end])
                frame = view[:wanted]
            while have < wanted:
                have += self._read(frame[have:])
            self.start = self.end = 0
        return frame[4], frame[PREFIX_BYTES:header_end], frame[header_end:]

    def _read(self, view):
        wait = 0.001
        while True:
            try:
                count = os.readv(self.fd, (view,))
            except BlockingIOError:
                self._wait_for(readable=True)
                continue
            if count:
                return count
            if self._identify() != self.identity:
                raise ChannelLost('descriptor %d was replaced' % self.fd)
            if not stat.S_ISCHR(self.identity[0]):
                leave(0)
            # A virtio port reads as ended, and polls as ready, while no host is connected to it.
            time.sleep(wait)
            wait = min(wait * 2, 0.008)

    def write_frame(self, kind, payload=b'', header=b''):
        length = 3 + len(header) + len(payload)
        prefix = length.to_bytes(4, 'big') + bytes((kind,)) + len(header).to_bytes(2, 'big')
        self.write(prefix + header + payload)

    def write(self, data):
        written = self._write(data)
        if written < len(data):
            view = memoryview(data)
            while written < len(data):
                written += self._write(view[written:])

    def _write(self, data):
        while True:
            try:
                return os.write(self.fd, data)
            except BlockingIOError:
                self._wait_for(readable=False)

    def _wait_for(self, readable):
        import select

        poller = select.poll()
        poller.register(self.fd, select.POLLIN if readable else select.POLLOUT)
        poller.poll(1000)


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


class LoadError(Exception):
    """The handler cannot be found; `kind` is the failure's type."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def main():
    function_channel, control = Channel(3), Channel(4)
    # A forked copy of this process (multiprocessing) must never answer in its name.
    os.register_at_fork(after_in_child=lambda: (os.close(function_channel.fd), os.close(control.fd)))
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
    try:
        handle, wants_context = load(request)
    except SystemExit as error:
        leave(exit_status(error))
    except BaseException as error:  # whatever the function's import raises is reported, then this process is of no use
        control.write_frame(LOAD_FAILED, describe_load_failure(error, request['handler']))
        leave(1)
    flush()
    control.write_frame(LOADED)
    serve(function_channel, control, handle, wants_context, request)


def load(request):
    """Imports the handler. Returns it and whether it takes a context."""
    root, name = request['root'], request['handler']
    os.environ.update(request['environment'])
    time.tzset()
    os.chdir(root)
    own_directory = os.path.dirname(os.path.abspath(__file__))
    rest = [entry for entry in sys.path if os.path.abspath(entry) != own_directory]
    sys.path[:] = [root, os.path.join(root, 'package'), os.path.join(root, 'lib')] + rest
    module_name, function_name = split_handler(name)
    if module_name in sys.modules:
        raise LoadError('Runtime.BuiltInModuleConflict', "The name '%s' is taken by a module of Python" % module_name)
    module = importlib.import_module(module_name)
    handle = getattr(module, function_name, None)
    if not callable(handle):
        what = 'missing on' if handle is None else 'not a function in'
        raise LoadError('Runtime.HandlerNotFound', "Handler '%s' %s module '%s'" % (function_name, what, module_name))
    wants_context = takes_context(handle, of_original_style=name is None)
    # What was made so far lives as long as the process: the collector need not look at it, nor dirty its pages, again.
    gc.collect()
    gc.freeze()
    return handle, wants_context


def split_handler(name):
    if name is None:
        return 'workload', 'handle'
    module_name, _, function_name = name.rpartition('.')
    module_name = module_name.replace('/', '.')
    if not function_name.isidentifier() or not module_name or '' in module_name.split('.'):
        raise LoadError('Runtime.MalformedHandlerName', "Bad handler '%s': expected file.function" % name)
    return module_name, function_name


def takes_context(handle, of_original_style):
    """True if `handle` has two positional parameters, or any number of them and is not of the original's style."""
    function = handle
    while hasattr(function, '__wrapped__'):
        function = function.__wrapped__
    code = getattr(function, '__code__', None)
    if code is not None:
        return code.co_argcount >= 2 or (bool(code.co_flags & 0x04) and not of_original_style)
    import inspect

    try:
        parameters = inspect.signature(handle).parameters.values()
    except (TypeError, ValueError):
        return not of_original_style
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return not of_original_style
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) >= 2


def serve(function_channel, control, handle, wants_context, request):
    function_name, memory = request['function'], str(request['memory_mib'])
    max_result_bytes = request['max_result_bytes']
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode
    tells_done, drained_due = request['output'] == 'pipes', False
    while True:
        kind, header, payload = function_channel.read_frame()
        if kind != INVOKE:
            raise ChannelLost('expected INVOKE, got a frame of type %d' % kind)
        if drained_due:
            wait_until_drained(control)
        FrameOutput.invocation += 1
        answer_kind, answer = FAILURE, b''
        try:
            event = json.loads(str(payload, 'utf-8'))
        except (ValueError, RecursionError) as error:
            answer = failure('Runtime.UnmarshalError', 'Unable to unmarshal input: %s' % error)
        else:
            try:
                if wants_context:
                    result = handle(event, Context(header, function_name, memory))
                else:
                    result = handle(event)
            except SystemExit as error:
                leave(exit_status(error))
            except BaseException as error:
                answer = describe(error)
            else:
                try:
                    answer = encode(result).encode('utf-8')
                    answer_kind = RESULT
                except Exception as error:  # the result's own methods run in there
                    answer = failure('Runtime.MarshalError', 'Unable to marshal response: %s' % error)
                result = None
                if len(answer) > max_result_bytes:
                    answer_kind = FAILURE
                    message = 'The result has %d bytes; at most %d are allowed.' % (len(answer), max_result_bytes)
                    answer = failure('Function.ResponseSizeTooLarge', message)
            event = None
        header = payload = None
        flush()
        function_channel.write_frame(answer_kind, answer)
        if tells_done:
            control.write(DONE_FRAME)
            drained_due = True


def wait_until_drained(control):
    """Blocks until init has collected what the last invocation printed, so that this one's output starts clean."""
    kind, _, _ = control.read_frame()
    if kind != DRAINED:
        raise ChannelLost('expected DRAINED, got a frame of type %d' % kind)


def failure(kind, message, stack=()):
    """A `FunctionFailure` as JSON, cut where it would be larger than a frame of the control channel may be."""
    encoded = json.dumps({'type': kind, 'message': message, 'stack': stack}).encode()
    if len(encoded) > MAX_FAILURE_BYTES:
        short = [line[:100] for line in stack[-20:]]
        encoded = json.dumps({'type': kind[:100], 'message': message[:2000] + ' [cut]', 'stack': short}).encode()
    return encoded


def describe(error):
    """An exception as a failure. Its own methods may be broken and memory may be short: something is always said."""
    kind = 'Error'
    try:
        kind = type(error).__name__
        return failure(kind, str(error), own_frames(error))
    except BaseException:
        return failure(kind, 'the error could not be described')


def own_frames(error):
    """The traceback's lines, outermost first, without those of this file and of Python's import machinery."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = (__file__, importlib.__file__)
    kept = [f for f in frames if f.filename not in ours and not f.filename.startswith('<frozen importlib')]
    return [line.rstrip('\n') for line in traceback.StackSummary.from_list(kept).format()]


def describe_load_failure(error, handler):
    module_name = 'workload' if handler is None else handler.rpartition('.')[0]
    if isinstance(error, LoadError):
        return failure(error.kind, str(error))
    try:
        if isinstance(error, ImportError):
            message = "Unable to import module '%s': %s" % (module_name, error)
            return failure('Runtime.ImportModuleError', message, own_frames(error))
        if isinstance(error, SyntaxError):
            where = '  File "%s", line %s' % (error.filename, error.lineno)
            text = [where, '    ' + error.text.strip()] if error.text else [where]
            message = "Syntax error in module '%s': %s" % (module_name, error)
            return failure('Runtime.UserCodeSyntaxError', message, own_frames(error) + text)
    except Exception:
        pass
    return describe(error)


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


def leave(status):
    """Ends the process at once: neither threads nor exit hooks of the function can delay it."""
    flush()
    os._exit(status)


if __name__ == '__main__':
    try:
        main()
    except (OSError, ChannelLost, MemoryError) as lost:
        try:
            sys.__stderr__.write('snapfaas: the runtime lost its channel: %s\n' % lost)
        except (OSError, ValueError, AttributeError):
            pass
        leave(1)
