"""Results as Lambda's client for Python writes them: its serialiser knows decimals and text in bytes, and allows NaN."""
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
    raise TypeError('Object of type %s is not JSON serializable' % type(value).__name__)


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
        text = (encode_strictly if strict else encode)(result)
        if Decimals.texts:
            text = re.sub('"%s-([0-9]+)"' % Decimals.mark, lambda match: Decimals.texts[int(match[1])], text)
    finally:
        if Decimals.texts:
            # The next result's strings are to be unknown as well.
            Decimals.texts, Decimals.mark = [], None
    return text.encode('utf-8'), b''
