"""Hooks around snapshots, with the interface of AWS's library of this name. guest/CONTRACT.md tells when they run."""

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """Has `func(*args, **kwargs)` called before a snapshot is taken, the last one registered first. A decorator, too."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Has `func(*args, **kwargs)` called after the restore, in order of registration. A decorator, too."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    """The hooks that will run, as (func, args, kwargs) in order of registration."""
    return _before_snapshot


def get_after_restore():
    """The hooks that will run, as (func, args, kwargs) in order of registration."""
    return _after_restore
