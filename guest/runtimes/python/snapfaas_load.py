"""Imports the function's handler."""
import gc
import importlib
import json
import os
import sys
import time
from types import FunctionType, MethodType

from snapfaas_failure import OWN_DIRECTORY

# Objects made between two collections while the function is imported: garbage of so many has room in the smallest VM.
IMPORT_THRESHOLD = 50_000
# A function's flag: it has `*args`.
VARARGS = 0x04


class LoadError(Exception):
    """The handler cannot be found; `kind` is the failure's type."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def load(request, style):
    """Imports the handler and returns it."""
    root = request['root']
    time.tzset()
    os.chdir(root)
    give_way()
    standard = [entry for entry in sys.path if os.path.join(os.path.abspath(entry), '') != OWN_DIRECTORY]
    wanted = [entry for entry in request['environment'].get('PYTHONPATH', '').split(':') if entry]
    brought = brought_packages(root)
    sys.path[:] = style.search_path(root, layer_places(root) + wanted, standard) + brought + image_places(root)
    obey_path_files(brought)
    module_name, function_name = style.split_handler()
    module = import_with_patient_collector(module_name)
    try:
        handle = getattr(module, function_name)
    except AttributeError:
        shown = module_name if request['handler'] is None else request['handler'].rpartition('.')[0]
        message = "Handler '%s' missing on module '%s'" % (function_name, shown)
        raise LoadError('Runtime.HandlerNotFound', message) from None
    style.accept(handle)
    # What was made so far lives as long as the process: the collector need not look at it, nor dirty its pages, again.
    gc.collect()
    gc.freeze()
    return handle


def import_with_patient_collector(name):
    """What an import makes mostly lives on. To look through it after each few hundred objects, as Python does, and then
    again with those before, takes a good part of the import's time under emulation, and finds nothing."""
    usual = gc.get_threshold()
    patient = (IMPORT_THRESHOLD, *usual[1:])
    gc.set_threshold(*patient)
    module = importlib.import_module(name)
    if gc.get_threshold() == patient:  # else the function has set its own
        gc.set_threshold(*usual)
    return module


def give_way():
    """Leaves the names of the runtime's own modules, which are all imported by now, to those of the function."""
    for name in [name for name in sys.modules if name.startswith('snapfaas_')]:
        own_modules.append(sys.modules.pop(name))


own_modules = []


def brought_packages(root):
    """Directories of modules that packages brought, as named in `requirements.txt` and `debian-packages.txt`. In a VM they
    are laid over the root file system since this process began; a plain process finds them in the function's files."""
    system = os.path.join(root, '.snapfaas', 'root')
    if not os.path.isdir(system):
        return []
    local = os.path.join('usr', 'local', 'lib')
    pythons = sorted(os.listdir(os.path.join(system, local))) if os.path.isdir(os.path.join(system, local)) else []
    places = [os.path.join(local, name, 'dist-packages') for name in pythons]
    places.append(os.path.join('usr', 'lib', 'python3', 'dist-packages'))
    importlib.invalidate_caches()
    in_machine = root in ('/srv', '/var/task')
    return [os.path.join('/' if in_machine else system, p) for p in places if os.path.isdir(os.path.join(system, p))]


def layer_places(root):
    """Where layers have modules, in AWS Lambda's order. Those for other versions of Python count where there are none for this one."""
    in_machine = root in ('/srv', '/var/task')
    folder = os.path.join('/opt' if in_machine else os.path.join(root, '.snapfaas', 'root', 'opt'), 'python')
    if not os.path.isdir(folder):
        return []
    importlib.invalidate_caches()
    versions = {}
    for name in os.listdir(os.path.join(folder, 'lib')) if os.path.isdir(os.path.join(folder, 'lib')) else []:
        place = os.path.join(folder, 'lib', name, 'site-packages')
        minor = name[len('python3.') :]
        if name.startswith('python3.') and minor.isdecimal() and os.path.isdir(place):
            versions[int(minor)] = place
    own = versions.get(sys.version_info[1])
    places = [versions[minor] for minor in sorted(versions, reverse=True)] if own is None else [own]
    return places + [folder]


def image_places(root):
    """Modules of the image that are no part of Python, the AWS SDK: whoever brings them as well has them found first."""
    in_machine = root in ('/srv', '/var/task')
    return ['/var/runtime'] if in_machine and os.path.isdir('/var/runtime') else []


def obey_path_files(places):
    """Python looks for `.pth` files when it starts, which was before these places were filled."""
    for place in places:
        for name in sorted(os.listdir(place)):
            if name.endswith('.pth') and not name.startswith('.'):
                import site

                site.addpackage(place, name, None)


def parse_event(payload):
    """With the language's own parser: integers of any size stay exact."""
    return json.loads(str(payload, 'utf-8'))


def most_arguments(handle):
    """How many positional arguments `handle` itself takes at most; None: any number, or nobody can tell. What a decorator
    wraps does not count: how that is called is the decorator's business."""
    function, bound = (handle.__func__, 1) if type(handle) is MethodType else (handle, 0)
    if type(function) is FunctionType:
        code = function.__code__
        return None if code.co_flags & VARARGS else code.co_argcount - bound
    if hasattr(handle, '__wrapped__'):
        return None
    import inspect

    try:
        kinds = [p.kind for p in inspect.signature(handle, follow_wrapped=False).parameters.values()]
    except (TypeError, ValueError):
        return None
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return sum(kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)
