"""Imports the function's handler."""
import gc
import importlib
import os
import sys
import time

from snapfaas_failure import OWN_DIRECTORY, describe, failure, own_frames


class LoadError(Exception):
    """The handler cannot be found; `kind` is the failure's type."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def load(request):
    """Imports the handler. Returns it and whether it takes a context."""
    root, name = request['root'], request['handler']
    os.environ.update(request['environment'])
    time.tzset()
    os.chdir(root)
    # The runtime's own modules are all imported by now; the function finds them in sys.modules.
    rest = [entry for entry in sys.path if os.path.join(os.path.abspath(entry), '') != OWN_DIRECTORY]
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
