"""What SEAL and START ask for, and what a process has to put right that was restored from a snapshot.

A snapshot is taken after SEAL: before LOAD, of a runtime without a function, and after the import. START comes in every
VM that is restored from the latter, or at once where there is no snapshot. `renew` is on the way of the first request and,
under emulation, pays for each line that runs for the first time: it looks only at modules that are there.
"""
import gc
import json
import os
import sys
import time

import snapfaas_generators
import snapfaas_hold
import snapshot_restore_py
from snapfaas_channel import HOOK_FAILED, REHEARSE, SEAL, SEALED, START, STARTED, Channel, ChannelLost, make_frame
from snapfaas_failure import describe
from snapfaas_output import exit_status, flush, leave

# After 16 rounds Python 3.11 has specialised what it will of the bytecode; later versions need fewer.
REHEARSALS = 20
SAMPLE_HEADER = b'{"id":"rehearsal","deadline_ms":0}'
SAMPLE_EVENT = '{"text":"a \\"b\\" é","numbers":[0,-1.5,1e3],"nested":{"yes":true,"nothing":null}}'.encode()


def wait_for_start(control, style):
    """Obeys SEAL, any number of times, and START."""
    while True:
        kind, header, _ = control.read_frame()
        if kind == START:
            restored = json.loads(str(header, 'utf-8'))['restored']
            if restored:
                renew()  # before all else: threads of the function run as well
            if snapfaas_generators.is_noting:
                snapfaas_generators.stop_noting()
                snapfaas_generators.forget()
            style.prepare()
            if restored:
                for hook in snapshot_restore_py.get_after_restore():
                    run_hook(control, style, 'Runtime.AfterRestoreError', *hook)
            flush()
            control.write_frame(STARTED)
            return
        if kind != SEAL:
            raise ChannelLost('expected SEAL or START, got a frame of type %d' % kind)
        step = json.loads(str(header, 'utf-8'))['step']
        if step == 'hooks':
            before_snapshot = snapshot_restore_py.get_before_snapshot()
            while before_snapshot:  # a hook may register another
                run_hook(control, style, 'Runtime.BeforeSnapshotError', *before_snapshot.pop())
            style.prepare()
            rehearse(style)
            snapfaas_generators.find()
            # What lives until here lives on: the collector need not look at it, nor dirty its pages, again.
            gc.collect()
            gc.freeze()
        elif step == 'generators':
            snapfaas_generators.seal()
            if not snapfaas_hold.has_threads():  # nothing is made any more before START, which is spared this
                snapfaas_generators.stop_noting()
        else:
            raise ChannelLost('SEAL asks for an unknown step: %s' % step)
        flush()
        if step == 'generators' and snapfaas_hold.has_threads():
            try:
                snapfaas_hold.exchange(control.fd, sealed_frame())
                continue
            except (ImportError, AttributeError):
                pass  # a Python without ctypes: its threads may draw once more what they draw in other VMs
        write_sealed(control)


def sealed_frame():
    """Tells which process reseeds itself: a wrapper may have started it."""
    return make_frame(SEALED, header=b'{"pid":%d}' % os.getpid())


def write_sealed(control):
    control.write(sealed_frame())


def run_hook(control, style, kind, function, args, kwargs):
    """`kind`: the failure's type where the style has one for hooks."""
    try:
        function(*args, **kwargs)
    except SystemExit as error:
        leave(exit_status(error))
    except BaseException as error:
        failure = style.describe_hook_failure(error, kind)
        flush()
        control.write_frame(HOOK_FAILED, failure)
        leave(1)


# ---- Rehearsal -------------------------------------------------------------------------------------------------------


def rehearse(style):
    """Runs all of an invocation but the function's own code, over a pipe, so that the snapshot has it warm."""
    reading_fd, writing_fd = os.pipe()
    reading, writing = Channel(reading_fd), Channel(writing_fd)
    for _ in range(REHEARSALS):
        writing.write_frame(REHEARSE, SAMPLE_EVENT, SAMPLE_HEADER)
        _, header, payload = reading.read_frame()
        answer = style.invoke(style.return_event, json.loads(bytes(header) or b'{}'), payload)
        flush()
        writing.write_frame(*answer)
        reading.read_frame()
    # Imports what failures need.
    describe(ValueError())
    reading.close()
    writing.close()


# ---- The process is another one --------------------------------------------------------------------------------------


def renew():
    """This process may be the copy of another: generators get new seeds, and times that were noted are moved."""
    snapfaas_generators.reseed()
    Clock.correct()


class Clock:
    """The time of the day jumps when a VM is restored, the monotonic clock does not."""

    # Below this, in s, it is the clock's own inaccuracy.
    TOLERANCE = 0.002
    offset = None

    @classmethod
    def note(cls):
        cls.offset = time.time() - time.monotonic()

    @classmethod
    def correct(cls):
        logging = sys.modules.get('logging')
        if logging is None:
            return
        before = cls.offset
        cls.note()
        jump = cls.offset - before
        start = getattr(logging, '_startTime', None)
        # `relativeCreated` of log records counts from there: in s, and from Python 3.13 on in ns.
        if isinstance(start, (int, float)) and abs(jump) > cls.TOLERANCE:
            logging._startTime = start + (int(jump * 1e9) if isinstance(start, int) else jump)


Clock.note()
