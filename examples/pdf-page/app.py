"""A page of a PDF as a picture, drawn by poppler's pdftoppm."""
import base64
import binascii
import struct
import subprocess

MAX_DPI = 600
# What pdftoppm ends with if it has no such page.
NO_SUCH_PAGE = 99


# A page with a word on it, in a font that the file does not bring.
WARM_UP = (
    b'%PDF-1.4\n1 0 obj<</Pages 2 0 R>>endobj 2 0 obj<</Kids[3 0 R]/Count 1>>endobj '
    b'3 0 obj<</Type/Page/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>endobj '
    b'4 0 obj<</Length 22>>stream\nBT /F 9 Tf (word) Tj ET\nendstream endobj trailer<</Root 1 0 R>>\n'
)


class BadRequest(Exception):
    """What the caller has to change."""


def handler(event, context):
    pdf = document(event)
    page = whole_number(event, 'page', 1, 2**31 - 1)
    dpi = whole_number(event, 'dpi', 72, MAX_DPI)
    png = draw(pdf, page, dpi)
    # Width and height stand first in the IHDR chunk.
    width, height = struct.unpack('>II', png[16:24])
    return {'width': width, 'height': height, 'png': base64.b64encode(png).decode()}


def document(event):
    text = event.get('pdf') if isinstance(event, dict) else None
    if not isinstance(text, str) or text == '':
        raise BadRequest('there is no "pdf" in the payload: send the file there, in base64')
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadRequest(f'"pdf" is not base64: {error}') from error


def whole_number(event, name, default, most):
    value = event.get(name, default)
    if type(value) is not int or not 1 <= value <= most:
        raise BadRequest(f'"{name}" has to be a whole number from 1 to {most}')
    return value


def draw(pdf, page, dpi):
    # From stdin to stdout: nothing of a request is left in a file.
    command = ['/usr/bin/pdftoppm', '-png', '-singlefile', '-r', str(dpi), '-f', str(page), '-l', str(page), '-']
    done = subprocess.run(command, input=pdf, capture_output=True, check=False)
    said = done.stderr.decode(errors='replace').strip()
    if done.returncode == NO_SUCH_PAGE:
        raise BadRequest(f'the PDF has no page {page}: {said}')
    if done.returncode < 0:
        raise RuntimeError(f'pdftoppm was ended by signal {-done.returncode}; give the function more memory, or ask for fewer dpi')
    # Of some broken files it draws nothing and says so, and ends well.
    if done.returncode != 0 or not done.stdout.startswith(b'\x89PNG'):
        raise BadRequest(f'"pdf" is not a PDF that can be drawn: {said}')
    return done.stdout


# What pdftoppm finds out about fonts is kept in /tmp, and so in the snapshot.
draw(WARM_UP, 1, 72)
