"""Counts the words of a text: the request's, or the one that lies beside this file."""
import collections
import pathlib
import re

BOOK = pathlib.Path(__file__).with_name('declaration.txt').read_text(encoding='utf-8')
# Letters of any script, with apostrophes inside: "don't" is one word.
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
MAX_TOP = 1000


def handle(request):
    text = request.get('text', BOOK)
    top = request.get('top', 10)
    if not isinstance(text, str):
        raise ValueError('"text" must be a string')
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= MAX_TOP:
        raise ValueError(f'"top" must be a whole number from 1 to {MAX_TOP}')
    counts = collections.Counter(WORD.findall(text.lower()))
    # Words that occur equally often come in alphabetical order, so that the answer is always the same.
    ranking = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {'words': sum(counts.values()), 'distinct': len(counts), 'counts': dict(ranking[:top])}
