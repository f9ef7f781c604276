"""Unpacks wheels as pip would install them below PREFIX: `unpack_wheels.py PREFIX MAX_BYTES WHEEL…`.

Nothing of a wheel is run, and nothing is written outside of PREFIX, whatever names it holds. Prints what was unpacked as
JSON: `{name: version}`. Source: the specification "Binary distribution format" of packaging.python.org.
"""
import configparser
import json
import os
import re
import sys
import zipfile

LIBRARY = os.path.join('lib', 'python%d.%d' % sys.version_info[:2], 'dist-packages')
PROGRAM_NAME = re.compile(r'[A-Za-z0-9_.+-]+')
OBJECT = re.compile(r'([A-Za-z_][\w.]*)\s*(?::\s*([A-Za-z_][\w.]*))?\s*(?:\[.*\])?')
INTERPRETER = b'#!/usr/bin/python3'
PROGRAM = """#!/usr/bin/python3
import sys
from {module} import {attribute}
sys.exit({call}())
"""


def place(name):
    """Where a member goes, relative to PREFIX; None: nowhere."""
    parts = name.split('/')
    if name.startswith('/') or '\\' in name or '\0' in name or any(part in ('', '.', '..') for part in parts):
        raise ValueError('it holds a file with the name %r' % name)
    if not parts[0].endswith('.data'):
        return os.path.join(LIBRARY, *parts)
    scheme, rest = parts[1], parts[2:]
    if not rest or scheme == 'headers':
        return None
    folders = {'purelib': LIBRARY, 'platlib': LIBRARY, 'scripts': 'bin', 'data': ''}
    if scheme not in folders:
        raise ValueError('it holds files of the unknown kind %r' % scheme)
    return os.path.join(folders[scheme], *rest)


def write(prefix, path, data, executable):
    absolute = os.path.join(prefix, path)
    os.makedirs(os.path.dirname(absolute), exist_ok=True)
    # Never through a link: nothing here makes one.
    descriptor = os.open(absolute, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, 'wb') as file:
        file.write(data)
        os.fchmod(file.fileno(), 0o755 if executable else 0o644)


def unpack(wheel, prefix, room):
    """Returns how many bytes of `room` are left."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            path = place(member.filename)
            if path is None:
                continue
            room -= member.file_size
            if room < 0:
                raise ValueError('it does not fit into an image')
            data = archive.read(member)
            is_program = path.startswith('bin' + os.sep)
            if is_program and data.startswith(b'#!python'):
                data = INTERPRETER + data[data.index(b'\n') :] if b'\n' in data else INTERPRETER
            write(prefix, path, data, is_program or (member.external_attr >> 16) & 0o111 != 0)
            if path.endswith('.dist-info' + os.sep + 'entry_points.txt'):
                write_programs(prefix, data.decode('utf-8', 'replace'))
    return room


def write_programs(prefix, entry_points):
    parser = configparser.RawConfigParser(delimiters=('=',), strict=False)
    parser.optionxform = str
    try:
        parser.read_string(entry_points)
    except configparser.Error:
        return
    if not parser.has_section('console_scripts'):
        return
    for name, reference in parser.items('console_scripts'):
        match = OBJECT.fullmatch(reference.strip())
        if match is None or match[2] is None or PROGRAM_NAME.fullmatch(name) is None or name in ('.', '..'):
            continue
        text = PROGRAM.format(module=match[1], attribute=match[2].split('.')[0], call=match[2])
        write(prefix, os.path.join('bin', name), text.encode(), True)


def main(prefix, max_bytes, *wheels):
    room = int(max_bytes)
    unpacked = {}
    for wheel in wheels:
        name, version = os.path.basename(wheel).split('-')[:2]
        try:
            room = unpack(wheel, prefix, room)
        except (ValueError, OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            sys.exit('%s cannot be unpacked: %s' % (os.path.basename(wheel), error))
        unpacked[name] = version
    json.dump(unpacked, sys.stdout)


main(*sys.argv[1:])
