"""Results as Lambda's client for Python writes them: its serialiser, `simplejson`, knows decimals, text in bytes and what
`_asdict()` of a value returns, such as a named tuple's, and allows NaN."""
import json
import math
import os
import re
import sys


class Decimals:
    """Decimals leave as numbers, digit for digit. Python's serialiser cannot write a number from text: each is written as
    a string that no function can know, which is then replaced."""

    mark = None
    texts = []


def default(value):
    decimal = sys.modules.get('decimal')
    if decimal is not None and isinstance(value, decimal.Decimal):
        if value.is_nan():
            return math.nan
        if value.is_infinite():
            return math.copysign(math.inf, value)
        if Decimals.mark is None:
            Decimals.mark = os.urandom(16).hex()
        Decimals.texts.append(str(value))
        return '%s-%d' % (Decimals.mark, len(Decimals.texts) - 1)
    if isinstance(value, bytes):
        return value.decode('utf-8')
    fields = fields_of(value)
    if fields is not None:
        return plain(fields, {id(value)})
    raise TypeError('Object of type %s is not JSON serializable' % value.__class__.__name__)


SCALARS = frozenset((str, int, float, bool, type(None)))


def is_plain(result):
    """Whether Python's own serialiser writes a value as Lambda's does. It never asks about subclasses of what it knows, and
    refuses bytes as keys."""
    seen = set()
    waiting = [(result,)]
    while waiting:
        values = waiting.pop()
        if SCALARS.issuperset(map(type, values)):
            continue
        for value in values:
            kind = type(value)
            if kind is dict:
                inside = value.values()
                if not SCALARS.issuperset(map(type, value)):
                    return False
            elif kind is list or kind is tuple:
                inside = value
            elif issubclass(kind, (dict, list, tuple)):
                return False
            else:
                continue
            if id(value) not in seen:
                seen.add(id(value))
                waiting.append(inside)
    return True


def plain(value, above):
    """Puts a value in the terms of Python's own serialiser. `above`: the ids of what it is in, to find circles."""
    if isinstance(value, (str, bytes, int, float)):
        return value
    fields = fields_of(value)
    if fields is None and not isinstance(value, (dict, list, tuple)):
        return value
    if id(value) in above:
        raise ValueError('Circular reference detected')
    above.add(id(value))
    if fields is not None:
        result = plain_dict(fields, above)
    elif isinstance(value, dict):
        result = plain_dict(value, above)
    else:
        result = [plain(item, above) for item in value]
    above.discard(id(value))
    return result


def plain_dict(value, above):
    return {plain_key(key): plain(item, above) for key, item in value.items()}


def plain_key(key):
    if isinstance(key, bytes):
        return key.decode('utf-8')
    if key is None or isinstance(key, (str, int, float)):
        return key
    raise TypeError('keys must be str, int, float, bool or None, not %s' % key.__class__.__name__)


def fields_of(value):
    asdict = getattr(value, '_asdict', None)
    if not callable(asdict):
        return None
    fields = asdict()
    if isinstance(fields, dict):
        return fields
    raise TypeError('_asdict() must return a dict, not %s' % type(fields).__name__)


# As Lambda's runtimes do, by version.
ESCAPES = sys.version_info < (3, 12)
encode = json.JSONEncoder(ensure_ascii=ESCAPES, default=default).encode
encode_strictly = json.JSONEncoder(ensure_ascii=ESCAPES, default=default, allow_nan=False).encode


def encode_result(result, strict):
    """Returns the bytes of the answer and the header that goes with them. `strict`: nothing but JSON."""
    if isinstance(result, bytes):
        if strict:
            raise TypeError('Object of type bytes is not JSON serializable')
        return result, b'{"content_type":"application/unknown"}'
    try:
        text = (encode_strictly if strict else encode)(result if is_plain(result) else plain(result, set()))
        if Decimals.texts:
            text = re.sub('"%s-([0-9]+)"' % Decimals.mark, lambda match: Decimals.texts[int(match[1])], text)
    finally:
        if Decimals.texts:
            # The next result's strings are to be unknown as well.
            Decimals.texts, Decimals.mark = [], None
    return text.encode('utf-8'), b''
