"""Makes thumbnails of pictures that were put into a bucket: the handler of an S3 notification."""
import base64
import io
import os
from urllib.parse import unquote_plus

from PIL import Image

WIDTH = int(os.environ.get('THUMBNAIL_WIDTH', '96'))
BUCKET = os.path.join(os.environ['LAMBDA_TASK_ROOT'], 'bucket')


def handler(event, context):
    return {'thumbnails': [thumbnail(record['s3']) for record in event['Records']]}


def thumbnail(s3):
    # Keys come URL-encoded in notifications, with + for a space.
    key = unquote_plus(s3['object']['key'])
    picture = Image.open(io.BytesIO(get_object(s3['bucket']['name'], key)))
    height = max(1, round(picture.height * WIDTH / picture.width))
    # For a JPEG this skips most of the decoding when the result is much smaller.
    picture.draft('RGB', (WIDTH, height))
    scaled = picture.convert('RGB').resize((WIDTH, height), Image.LANCZOS)
    buffer = io.BytesIO()
    scaled.save(buffer, 'PNG')
    print(f'{key}: {picture.width}x{picture.height} to {WIDTH}x{height}')
    return {
        'key': f'thumbnails/{os.path.splitext(os.path.basename(key))[0]}.png',
        'width': WIDTH,
        'height': height,
        'body': base64.b64encode(buffer.getvalue()).decode('ascii'),
    }


def get_object(bucket, key):
    """Stands for S3's GetObject: there is no network in the VM, so the bucket is a directory of the function."""
    path = os.path.realpath(os.path.join(BUCKET, key))
    if not path.startswith(BUCKET + os.sep):
        raise ValueError(f'{key!r} leads out of the bucket {bucket}')
    with open(path, 'rb') as file:
        return file.read()
