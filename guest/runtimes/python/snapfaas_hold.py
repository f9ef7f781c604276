"""Threads of the function while a snapshot is taken: none of them may draw what every VM that is restored would draw.

All processes stand still from SEALED to START. But then they go on together, and the runtime's thread, which has the
generators reseeded, would have to wait for its turn. So it never gives the turn away: it sends SEALED, waits for START and
reseeds `random` in a single call from C, whose functions of libc are called without releasing Python's lock. No line of
Python runs in between, at which another thread could ask for the lock.
"""
import operator
import sys
from collections import deque
from functools import partial

from snapfaas_generators import Twisters

# The whole state of a Mersenne Twister; and as much as Python takes for the seed of one.
STATE_WORDS = 624
SEED_BYTES = 4 * STATE_WORDS
POLLIN = 1


def has_threads():
    return len(sys._current_frames()) > 1


def exchange(fd, frame):
    """Sends `frame` and returns when something can be read, with `random` reseeded; meanwhile no other thread runs.

    Raises ImportError or AttributeError, before anything was sent, in a Python without ctypes.
    """
    write, poll, getrandom = functions_that_hold('write', 'poll', 'getrandom')
    descriptor = array_over(bytearray(fd.to_bytes(4, sys.byteorder) + POLLIN.to_bytes(2, sys.byteorder) + bytes(2)))

    def fill(buffer):
        # Again whenever a signal has interrupted it.
        return exhausting(iter(partial(getrandom, array_over(buffer), len(buffer), 0), len(buffer)))

    steps = [
        partial(write, fd, frame, len(frame)),
        # The same.
        exhausting(iter(partial(poll, descriptor, 1, -1), 1)),
        *steps_that_reseed(fill),
    ]
    exhausting(map(operator.call, steps))()


def exhausting(iterator):
    return partial(deque, iterator, 0)


def functions_that_hold(*names):
    # Not `ctypes`: a function may have a file of that name.
    import _ctypes

    class Int(_ctypes._SimpleCData):
        _type_ = 'i'

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI
        _restype_ = Int

    library = _ctypes.dlopen(None, 0)
    return [Function(_ctypes.dlsym(library, name)) for name in names]


def array_over(buffer):
    import _ctypes

    class Byte(_ctypes._SimpleCData):
        _type_ = 'B'

    class Bytes(_ctypes.Array):
        _type_ = Byte
        _length_ = len(buffer)

    return Bytes.from_buffer(buffer)


def steps_that_reseed(fill):
    """What C can do alone for the generators that threads share. `fill`: the step that fills a buffer with random bytes."""
    random, numpy, tempfile = (sys.modules.get(name) for name in ('random', 'numpy.random', 'tempfile'))
    kind = getattr(sys.modules.get('_random'), 'Random', None)
    for generator in (getattr(random, '_inst', None), *Twisters.living()):
        if kind is not None and isinstance(generator, kind):
            seed = bytearray(SEED_BYTES)
            yield fill(seed)
            number = map(partial(int.from_bytes, byteorder=sys.byteorder), (seed,))
            yield exhausting(map(partial(kind.seed, generator), number))
            yield partial(generator.__dict__.__setitem__, 'gauss_next', None)
    twister = getattr(getattr(getattr(numpy, 'mtrand', None), '_rand', None), '_bit_generator', None)
    if type(twister).__name__ == 'MT19937':
        state = bytearray(4 * STATE_WORDS)
        yield fill(state)
        words = {'key': memoryview(state).cast('I'), 'pos': STATE_WORDS}
        yield partial(setattr, twister, 'state', {'bit_generator': 'MT19937', 'state': words})
    if tempfile is not None:
        yield partial(setattr, tempfile, '_name_sequence', None)
