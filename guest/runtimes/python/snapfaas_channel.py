"""Frames, and the channels that carry them.

    0            4        5              7                7+H               4+N
    | N u32 BE   | type   | H u16 BE     | header, JSON   | payload         |
"""
import fcntl
import os
import select
import stat
import time

INVOKE, RESULT, FAILURE, REHEARSE = 1, 2, 3, 4
HELLO, LOAD, LOADED, LOAD_FAILED, DONE, DRAINED, LOG = 16, 17, 18, 19, 20, 21, 22
SEAL, SEALED, START, STARTED, HOOK_FAILED = 27, 28, 29, 30, 31

PREFIX_BYTES = 7
BUFFER_BYTES = 64 * 1024
MAX_FRAME_BYTES = 6 * 1024 * 1024 + 128 * 1024
# The descriptors are moved up here, so that a function that closes "all" low ones still gets its answer out.
LOWEST_FD = 200

DONE_FRAME = b'\x00\x00\x00\x03\x14\x00\x00'


class ChannelLost(Exception):
    """A channel is closed, replaced, or carried bytes that are no frame: nobody can be answered any more."""


class HostGone(Exception):
    """The other end of a socket was closed: there is nobody left to work for."""


def make_frame(kind, payload=b'', header=b''):
    length = 3 + len(header) + len(payload)
    prefix = length.to_bytes(4, 'big') + bytes((kind,)) + len(header).to_bytes(2, 'big')
    return prefix + header + payload


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

    def close(self):
        os.close(self.fd)

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
                raise HostGone('descriptor %d has ended' % self.fd)
            # A virtio port reads as ended, and polls as ready, while no host is connected to it.
            time.sleep(wait)
            wait = min(wait * 2, 0.008)

    def write_frame(self, kind, payload=b'', header=b''):
        self.write(make_frame(kind, payload, header))

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
        wait_for(self.fd, select.POLLIN if readable else select.POLLOUT)


def wait_for(fd, events):
    """Blocks until one of `events` is there, for a second at most."""
    poller = select.poll()
    poller.register(fd, events)
    poller.poll(1000)
