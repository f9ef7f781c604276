"""Compiles modules for the interpreter that runs this: `compile_modules.py`, with pairs of lines on standard input, the
path of a module and the path that its code is to name.

Writes .pyc files beside them that Python trusts without looking at the source: parsing it under emulation takes seconds. A
module that cannot be compiled is left alone: whoever imports it gets the error. Nothing of a module is run.
"""
import importlib._bootstrap_external as external
import importlib.util
import os
import resource
import sys
import warnings

# A module that needs more is compiled in the guest, which has its own limits.
MAX_MEMORY_BYTES = 2 << 30
MAX_CPU_S = 600
MAX_SOURCE_BYTES = 8 << 20

resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
warnings.simplefilter('ignore')


def compile_module(path, shown):
    with open(path, 'rb') as file:
        source = file.read(MAX_SOURCE_BYTES + 1)
    if len(source) > MAX_SOURCE_BYTES:
        return
    code = compile(source, shown, 'exec', dont_inherit=True, optimize=0)
    target = importlib.util.cache_from_source(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    data = external._code_to_hash_pyc(code, importlib.util.source_hash(source), False)
    temporary = '%s.%d' % (target, os.getpid())
    with open(temporary, 'xb') as file:
        file.write(data)
    os.replace(temporary, target)


lines = sys.stdin.buffer.read().decode('utf-8', 'surrogateescape').split('\n')
for path, shown in zip(lines[::2], lines[1::2]):
    try:
        compile_module(path, shown)
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError, OverflowError, LookupError):
        pass
