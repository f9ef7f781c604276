"""Imports the function's handler."""
import gc
import importlib
import json
import os
import sys
import time

from snapfaas_failure import OWN_DIRECTORY


class LoadError(Exception):
    """The handler cannot be found; `kind` is the failure's type."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def load(request, style):
    """Imports the handler and returns it."""
    root = request['root']
    style.set_environment()
    time.tzset()
    os.chdir(root)
    # The runtime's own modules are all imported by now; the function finds them in sys.modules.
    rest = [entry for entry in sys.path if os.path.join(os.path.abspath(entry), '') != OWN_DIRECTORY]
    wanted = [entry for entry in request['environment'].get('PYTHONPATH', '').split(':') if entry]
    sys.path[:] = [root, os.path.join(root, 'package'), os.path.join(root, 'lib')] + wanted + rest
    module_name, function_name = style.split_handler()
    if module_name in sys.modules:
        raise LoadError('Runtime.BuiltInModuleConflict', "The name '%s' is taken by a module of Python" % module_name)
    module = importlib.import_module(module_name)
    handle = getattr(module, function_name, None)
    if not callable(handle):
        what = 'missing on' if handle is None else 'not a function in'
        shown = module_name if request['handler'] is None else request['handler'].rpartition('.')[0]
        raise LoadError('Runtime.HandlerNotFound', "Handler '%s' %s module '%s'" % (function_name, what, shown))
    style.accept(handle)
    # What was made so far lives as long as the process: the collector need not look at it, nor dirty its pages, again.
    gc.collect()
    gc.freeze()
    return handle


def parse_event(payload):
    """With the language's own parser: integers of any size stay exact."""
    return json.loads(str(payload, 'utf-8'))


def takes_context(handle, if_any_number):
    """True if `handle` has two positional parameters; `if_any_number`: what `*args` alone counts for."""
    function = handle
    while hasattr(function, '__wrapped__'):
        function = function.__wrapped__
    code = getattr(function, '__code__', None)
    if code is not None:
        return code.co_argcount >= 2 or (bool(code.co_flags & 0x04) and if_any_number)
    import inspect

    try:
        parameters = inspect.signature(handle).parameters.values()
    except (TypeError, ValueError):
        return if_any_number
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return if_any_number
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) >= 2
