"""Scales a JPEG to a given width and returns it as PNG."""
import base64
import binascii
import io

from PIL import Image

MAX_WIDTH = 2048


def handle(request):
    width = request.get('width')
    if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= MAX_WIDTH:
        raise ValueError(f'"width" must be a whole number from 1 to {MAX_WIDTH}')
    picture = decode(request.get('image'))
    height = max(1, round(picture.height * width / picture.width))
    # For a JPEG this skips most of the decoding when the result is much smaller.
    picture.draft('RGB', (width, height))
    scaled = picture.convert('RGB').resize((width, height), Image.LANCZOS)
    buffer = io.BytesIO()
    scaled.save(buffer, 'PNG')
    return {
        'image': base64.b64encode(buffer.getvalue()).decode('ascii'),
        'width': width,
        'height': height,
        'format': 'PNG',
    }


def decode(text):
    if not isinstance(text, str):
        raise ValueError('"image" must be a JPEG in base64')
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f'"image" must be a JPEG in base64: {error}') from error
    try:
        return Image.open(io.BytesIO(data), formats=['JPEG'])
    except OSError as error:
        raise ValueError('"image" is base64, but not of a JPEG') from error
