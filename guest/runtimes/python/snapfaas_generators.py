"""Random generators whose state a snapshot hands to every VM that is restored from it: each takes a new one there.

Those of the standard library always do. Of the ones that the function or its packages made themselves (`random.Random()`,
`numpy.random.default_rng()`) those do that took their seed from the system: who gave one wants the sequence that follows
from it. Afterwards nobody can tell which it was. So while the function is imported it is noted, in the modules themselves,
right after their own import.

`reseed` is on the way of the first request and, under emulation, pays for each line that runs for the first time: it looks
only at modules that are there.
"""
import gc
import os
import sys
from _weakref import ref
from importlib.machinery import PathFinder


def seal():
    """Has OpenSSL's generators note the time of the day, which is far in the future. After a restore each finds at its
    next use that time went backwards, and reseeds itself; those derived from it follow."""
    openssl = sys.modules.get('_ssl')
    if openssl is not None:
        openssl.RAND_bytes(1)
    if '_sqlite3' in sys.modules:
        Sqlite.find(sys.modules['_sqlite3'])


def reseed():
    for name, reseed_module in GENERATORS:
        module = sys.modules.get(name)
        if module is not None:
            try:
                reseed_module(module)
            except Exception:
                pass  # a module of the function's that only has the name


# ---- What the function's import makes --------------------------------------------------------------------------------


# Asked on the way of the first request; see `stop_noting`.
is_noting = False


def note():
    """From here on, until `stop_noting`."""
    global is_noting
    is_noting = True
    sys.meta_path.insert(sys.meta_path.index(PathFinder), NotingFinder)
    for name, prepare in NOTED.items():
        if name in sys.modules:  # a `.pth` file of this Python's has imported it
            prepare_module(prepare, sys.modules[name])


def find():
    """Looks for what could not be noted when it was made. What was frozen (`gc`) may not be afterwards."""
    Numpy.find()


def stop_noting():
    """Nobody need see anything of this any more, nor pay for it; what was noted is reseeded later."""
    global is_noting
    is_noting = False
    if NotingFinder in sys.meta_path:
        sys.meta_path.remove(NotingFinder)
    for noted in (Twisters, Numpy):
        while noted.changed:
            setattr(*noted.changed.pop())


def forget():
    """There will be no snapshot any more."""
    Twisters.unseeded.clear()
    Numpy.unseeded = []
    Numpy.drawn.clear()


class NotingFinder:
    """Has some modules prepared as soon as they are imported, before whoever imports them gets them."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        prepare = NOTED.get(name)
        if prepare is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = NotingLoader(spec.loader, prepare)
        return spec


class NotingLoader:
    def __init__(self, loader, prepare):
        self.loader = loader
        self.prepare = prepare

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        prepare_module(self.prepare, module)


def prepare_module(prepare, module):
    try:
        prepare(module)
    except Exception:
        pass  # a module of the function's that only has the name


class Twisters:
    """Instances of `random.Random` that took their seed from the system."""

    # By the instance's id: it may be unhashable.
    unseeded = {}
    # The class as its module made it, with its methods.
    changed = []

    @classmethod
    def note(cls, random):
        original, unseeded = random.Random, cls.unseeded
        seed_by, set_state = original.seed, original.setstate

        def seed(self, a=None, version=2):
            seed_by(self, a, version)
            if a is None:
                number = id(self)
                unseeded[number] = ref(self, lambda _: unseeded.pop(number, None))
            else:
                unseeded.pop(id(self), None)

        def setstate(self, state):
            set_state(self, state)
            unseeded.pop(id(self), None)

        for name, method, own in (('seed', seed_by, seed), ('setstate', set_state, setstate)):
            own.__doc__, own.__qualname__, own.__module__ = method.__doc__, method.__qualname__, method.__module__
            setattr(original, name, own)
            cls.changed.append((original, name, method))

    @classmethod
    def living(cls):
        found = [one() for one in list(cls.unseeded.values())]
        return [one for one in found if one is not None]


class Numpy:
    """Bit generators whose sequence of seeds began with a number from the system."""

    drawn = set()
    unseeded = []
    # The module that draws, and what it draws with.
    changed = []

    @classmethod
    def note(cls, module):
        draw, drawn = module.randbits, cls.drawn

        def randbits(bits):
            number = draw(bits)
            drawn.add(number)
            return number

        module.randbits = randbits
        cls.changed.append((module, 'randbits', draw))

    @classmethod
    def find(cls):
        if cls.drawn:
            kind = cls.changed[0][0].BitGenerator
            gc.unfreeze()
            cls.unseeded = [one for one in gc.get_objects() if kind in type(one).__mro__ and cls.is_unseeded(one)]

    @classmethod
    def is_unseeded(cls, generator):
        seeds = getattr(generator, 'seed_seq', None) or getattr(generator, '_seed_seq', None)
        return getattr(seeds, 'entropy', None) in cls.drawn

    @classmethod
    def reseed(cls):
        for one in cls.unseeded:
            one.state = type(one)().state
        cls.unseeded = []


class Authkey:
    """What processes of `multiprocessing` know each other by. One that the function has set is left alone."""

    made = None

    @classmethod
    def note(cls, process):
        cls.made = process.current_process().authkey

    @classmethod
    def reseed(cls, process):
        current = process.current_process()
        if cls.made is not None and current.authkey is cls.made:
            current.authkey = os.urandom(len(cls.made))


class Sqlite:
    """SQLite seeds its generator once, at the first use in a process, until it is told to do so again."""

    forget_seed = None

    @classmethod
    def find(cls, module):
        """In the library that the module is linked with, whichever that is."""
        try:
            # Not `ctypes`: a function may have a file of that name.
            import _ctypes

            class Int(_ctypes._SimpleCData):
                _type_ = 'i'

            class Function(_ctypes.CFuncPtr):
                _flags_ = _ctypes.FUNCFLAG_CDECL
                _restype_ = Int

            library = _ctypes.dlopen(module.__file__, 0)
            cls.forget_seed = Function(_ctypes.dlsym(library, 'sqlite3_randomness'))
        except (ImportError, AttributeError, OSError):
            pass

    @classmethod
    def reseed(cls, module):
        if cls.forget_seed is not None:
            cls.forget_seed(0, None)


NOTED = {
    'random': Twisters.note,
    'numpy.random.bit_generator': Numpy.note,
    'multiprocessing.process': Authkey.note,
}


# ---- Generators by the module that holds them ------------------------------------------------------------------------


def reseed_random(random):
    random.seed()
    for instance in Twisters.living():
        random.Random.seed(instance)
    Twisters.unseeded.clear()


def reseed_numpy(numpy_random):
    numpy_random.seed()
    Numpy.reseed()


def reseed_uuid(uuid):
    """uuid1: a node of its own, and no library that remembers another."""
    uuid._generate_time_safe = None
    uuid._node = int.from_bytes(os.urandom(6), 'big') | 1 << 40  # the bit says that it is no hardware address
    uuid._last_timestamp = None


def reseed_tempfile(tempfile):
    tempfile._name_sequence = None


RESEED_INTERPRETER = """
import sys
if 'random' in sys.modules: sys.modules['random'].seed()
if 'tempfile' in sys.modules: sys.modules['tempfile']._name_sequence = None
"""


def reseed_interpreters(interpreters):
    """Each interpreter of this process has modules of its own."""
    current = interpreters.get_current()
    for other in interpreters.list_all():
        if other != current:
            interpreters.run_string(other[0] if isinstance(other, tuple) else other, RESEED_INTERPRETER)


GENERATORS = (
    ('random', reseed_random),
    ('numpy.random', reseed_numpy),
    ('uuid', reseed_uuid),
    ('tempfile', reseed_tempfile),
    ('_sqlite3', Sqlite.reseed),
    ('multiprocessing.process', Authkey.reseed),
    ('_xxsubinterpreters', reseed_interpreters),
    ('_interpreters', reseed_interpreters),
)
