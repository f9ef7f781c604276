"""From the imported function to the first invocation: what SEAL and START ask for.

A snapshot is taken after SEAL; START comes in every VM that is restored from it, or at once where there is no snapshot.
`resume` is on the way of the first request and, under emulation, pays for each line that runs for the first time: it
looks only at modules that are there.
"""
import gc
import json
import os
import sys

import snapshot_restore_py
from snapfaas_channel import HOOK_FAILED, REHEARSE, SEAL, SEALED, START, STARTED, Channel, ChannelLost
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
            style.prepare()
            if json.loads(str(header, 'utf-8'))['restored']:
                resume(control, style)
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
            # What lives until here lives on: the collector need not look at it, nor dirty its pages, again.
            gc.collect()
            gc.freeze()
        elif step == 'generators':
            draw_random_bytes()
        else:
            raise ChannelLost('SEAL asks for an unknown step: %s' % step)
        flush()
        control.write_frame(SEALED)


def resume(control, style):
    for name, reseed in GENERATORS:
        module = sys.modules.get(name)
        if module is not None:
            try:
                reseed(module)
            except Exception:
                pass  # a module of the function's that only has the name
    for hook in snapshot_restore_py.get_after_restore():
        run_hook(control, style, 'Runtime.AfterRestoreError', *hook)


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


# ---- Random generators -----------------------------------------------------------------------------------------------


def draw_random_bytes():
    """Has OpenSSL's generators note the time of the day, which is far in the future. After a restore each finds at its
    next use that time went backwards, and reseeds itself; those derived from it follow."""
    openssl = sys.modules.get('_ssl')
    if openssl is not None:
        openssl.RAND_bytes(1)


def reseed_random(random):
    random.seed()


def reseed_uuid(uuid):
    """uuid1: a node of its own, and no library that remembers another."""
    uuid._generate_time_safe = None
    uuid._node = int.from_bytes(os.urandom(6), 'big') | 1 << 40  # the bit says that it is no hardware address
    uuid._last_timestamp = None


def reseed_tempfile(tempfile):
    tempfile._name_sequence = None


# By the module that holds them.
GENERATORS = (
    ('random', reseed_random),
    ('numpy.random', reseed_random),
    ('uuid', reseed_uuid),
    ('tempfile', reseed_tempfile),
)
