/**
 * What functions in Python return that is out of the ordinary, and what becomes of it with awslambdaric 4.2.2:
 * the values are what that posts to a Runtime API. Where ours is another on purpose, `onAws` tells theirs.
 */
import type { Value, ValueOutcome } from './lambda-values.ts';

function unmarshallable(why: string): ValueOutcome {
  return { type: 'Runtime.MarshalError', message: `Unable to marshal response: ${why}` };
}

export const prelude = `
import asyncio, dataclasses, datetime, decimal, enum, fractions, functools, math, os, signal, sys, threading, types, uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from typing import NamedTuple

Point = namedtuple('Point', 'x y')
class Place(NamedTuple):
    name: str
    at: Point
class Row(tuple):
    def _asdict(self): return {'first': self[0]}
class Record:
    def _asdict(self): return {'a': 1}
class Odd:
    def _asdict(self): return [1]
class OddTuple(tuple):
    def _asdict(self): return 7
class Listed(list):
    _asdict = 'no method'
class Named(dict):
    def _asdict(self): return {'named': True}
class Colour(enum.Enum):
    RED = 1
class Level(enum.IntEnum):
    HIGH = 3
class Word(str, enum.Enum):
    YES = 'yes'
class Money(float):
    def __repr__(self): return 'money'
class Count(int):
    def __repr__(self): return 'count'
class Text(str):
    def __str__(self): return 'other'
class Reversed(list):
    def __iter__(self): return reversed(list.copy(self))
class Shown(dict):
    def items(self): return [('shown', 1)]
@dataclasses.dataclass
class Data:
    x: int
class Plain:
    pass
class Disguised:
    __class__ = int
def nested(depth):
    result = []
    for _ in range(depth): result = [result]
    return result
`;

/** By one process, one after the other. */
export const results: readonly Value[] = [
  ['NaN', 'float("nan")', 'NaN'],
  ['infinities', '[math.inf, -math.inf]', '[Infinity, -Infinity]'],
  ['minus zero', '[-0.0, 0.0, -0]', '[-0.0, 0.0, 0]'],
  ['floats', '[1e16, 1e-7, 123456789012345680.0, 5e-324, 1.0]', '[1e+16, 1e-07, 1.2345678901234568e+17, 5e-324, 1.0]'],
  ['NaN as a key', '{math.nan: 1, math.inf: 2, -0.0: 3}', '{"NaN": 1, "Infinity": 2, "-0.0": 3}'],
  [
    'huge ints',
    '[2**53 + 1, -2**64, 10**30]',
    '[9007199254740993, -18446744073709551616, 1000000000000000000000000000000]',
  ],
  [
    'an int of 4300 digits, and more',
    '10**5000',
    unmarshallable(
      'Exceeds the limit (4300 digits) for integer string conversion; use sys.set_int_max_str_digits() to increase the limit',
    ),
  ],
  ['bools', '[True, False, None]', '[true, false, null]'],
  ['bytes inside', '[b"text", {"k": b"\\xc3\\xa9" and b"v"}]', '["text", {"k": "v"}]'],
  [
    'bytes that are no UTF-8 inside',
    '[b"\\xff"]',
    unmarshallable("'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
  ],
  ['a bytearray', 'bytearray(b"x")', unmarshallable('Object of type bytearray is not JSON serializable')],
  ['a memoryview', '[memoryview(b"x")]', unmarshallable('Object of type memoryview is not JSON serializable')],
  ['bytes as a key', '{b"k": 1}', '{"k": 1}'],
  [
    'keys of all kinds',
    '{1: "i", 1.5: "f", None: "n", False: "b", "s": "s"}',
    '{"1": "i", "1.5": "f", "null": "n", "false": "b", "s": "s"}',
  ],
  ['the same key twice', '{1: "a", "1": "b"}', '{"1": "a", "1": "b"}'],
  ['a tuple as a key', '{(1, 2): 1}', unmarshallable('keys must be str, int, float, bool or None, not tuple')],
  [
    'a Decimal as a key',
    '{decimal.Decimal("1"): 1}',
    unmarshallable('keys must be str, int, float, bool or None, not Decimal'),
  ],
  ['a set', '{1}', unmarshallable('Object of type set is not JSON serializable')],
  ['a frozenset', '[frozenset()]', unmarshallable('Object of type frozenset is not JSON serializable')],
  ['a tuple', '(1, (2,), ())', '[1, [2], []]'],
  ['a range', 'range(3)', unmarshallable('Object of type range is not JSON serializable')],
  ['a generator', '(n for n in "ab")', unmarshallable('Object of type generator is not JSON serializable')],
  ['a deque', 'deque([1])', unmarshallable('Object of type deque is not JSON serializable')],
  ['a named tuple', 'Point(1, 2)', '{"x": 1, "y": 2}'],
  [
    'named tuples inside',
    '[Place("a", Point(1, [Point(2, ())])), {"p": Point(None, True)}]',
    '[{"name": "a", "at": {"x": 1, "y": [{"x": 2, "y": []}]}}, {"p": {"x": null, "y": true}}]',
  ],
  [
    'a named tuple as a key',
    '{Point(1, 2): 1}',
    unmarshallable('keys must be str, int, float, bool or None, not Point'),
  ],
  ['a named tuple with a Decimal and bytes', 'Point(decimal.Decimal("1.10"), b"x")', '{"x": 1.10, "y": "x"}'],
  ['a tuple with _asdict', '[Row((1, 2))]', '[{"first": 1}]'],
  ['an object with _asdict', '[Record()]', '[{"a": 1}]'],
  ['_asdict that returns no dict', '[Odd()]', unmarshallable('_asdict() must return a dict, not list')],
  [
    'a tuple with _asdict that returns no dict',
    'OddTuple((1,))',
    unmarshallable('_asdict() must return a dict, not int'),
  ],
  ['_asdict that is no method', 'Listed([1])', '[1]'],
  ['a dict with _asdict', 'Named(a=1)', '{"named": true}'],
  ['a dataclass', 'Data(1)', unmarshallable('Object of type Data is not JSON serializable')],
  ['an object', 'Plain()', unmarshallable('Object of type Plain is not JSON serializable')],
  ['a class', 'Plain', unmarshallable('Object of type type is not JSON serializable')],
  ['a function', 'raises', unmarshallable('Object of type function is not JSON serializable')],
  ['a module', 'math', unmarshallable('Object of type module is not JSON serializable')],
  ['an exception', 'ValueError("x")', unmarshallable('Object of type ValueError is not JSON serializable')],
  [
    'a simple namespace',
    'types.SimpleNamespace(a=1)',
    unmarshallable('Object of type SimpleNamespace is not JSON serializable'),
  ],
  [
    'a mapping proxy',
    'types.MappingProxyType({})',
    unmarshallable('Object of type mappingproxy is not JSON serializable'),
  ],
  ['an object that says it is an int', 'Disguised()', unmarshallable('Object of type int is not JSON serializable')],
  ['an enum', 'Colour.RED', unmarshallable('Object of type Colour is not JSON serializable')],
  ['an int enum', '[Level.HIGH, {Level.HIGH: 1}]', '[3, {"3": 1}]'],
  ['a str enum', '[Word.YES]', '["yes"]'],
  [
    'Decimals',
    '[decimal.Decimal(text) for text in ("1.10", "-0", "1E+2", "NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "0E-10")]',
    '[1.10, -0, 1E+2, NaN, NaN, NaN, Infinity, -Infinity, 0E-10]',
  ],
  ['a Decimal alone', 'decimal.Decimal("0.1")', '0.1'],
  ['a fraction', 'fractions.Fraction(1, 2)', unmarshallable('Object of type Fraction is not JSON serializable')],
  ['a complex number', '1j', unmarshallable('Object of type complex is not JSON serializable')],
  ['a date', 'datetime.date(2026, 1, 31)', unmarshallable('Object of type date is not JSON serializable')],
  [
    'a datetime',
    '[datetime.datetime(2026, 1, 31, 1, 2, 3)]',
    unmarshallable('Object of type datetime is not JSON serializable'),
  ],
  ['a UUID', 'uuid.UUID(int=1)', unmarshallable('Object of type UUID is not JSON serializable')],
  ['subclasses of numbers', '[Money(1.5), Count(7)]', '[1.5, 7]'],
  ['a subclass of str', '[Text("own"), {Text("key"): 1}]', '["own", {"key": 1}]'],
  ['a list with an iterator of its own', 'Reversed([1, 2])', '[2, 1]'],
  ['a dict with items of its own', 'Shown(a=1)', '{"shown": 1}'],
  [
    'dicts of collections',
    '[OrderedDict(z=1, a=2), defaultdict(list, k=[1]), Counter("aab")]',
    '[{"z": 1, "a": 2}, {"k": [1]}, {"a": 2, "b": 1}]',
  ],
  [
    'control characters and DEL',
    '"\\x00\\x1f\\x7f\\t\\n\\"\\\\/"',
    '"\\u0000\\u001f\\u007f\\t\\n\\"\\\\/"',
    { from312: '"\\u0000\\u001f\u007f\\t\\n\\"\\\\/"' },
  ],
  ['separators of lines', '"a\\u2028b\\u2029c"', '"a\\u2028b\\u2029c"', { from312: '"a\u2028b\u2029c"' }],
  [
    'a list in itself',
    `
result = []
result.append([result])
return result`,
    unmarshallable('Circular reference detected'),
  ],
  [
    'a dict in itself through a named tuple',
    `
result = {}
result["p"] = Point(result, 1)
return result`,
    unmarshallable('Circular reference detected'),
  ],
  [
    'the same list twice',
    `
one = [1]
return [one, one, Point(one, one)]`,
    '[[1], [1], {"x": [1], "y": [1]}]',
  ],
  [
    'nesting of 100',
    'nested(100)',
    '[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]',
  ],
  [
    'nesting without an end',
    `
deepest = nested(100000)
return deepest`,
    unmarshallable('maximum recursion depth exceeded while encoding a JSON object'),
  ],
  [
    'a coroutine',
    `
async def soon(): return 1
coroutine = soon()
coroutine.close()
return coroutine`,
    unmarshallable('Object of type coroutine is not JSON serializable'),
  ],
  [
    'Ellipsis and NotImplemented',
    '[..., NotImplemented]',
    unmarshallable('Object of type ellipsis is not JSON serializable'),
  ],
];
