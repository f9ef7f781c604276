# Bytes that come and go, in Flask; the last line alone is for AWS Lambda and function URLs.
from apig_wsgi import make_lambda_handler
from flask import Flask, abort, jsonify, request, session

app = Flask(__name__)
# For the cookie that counts; an application would have it from its environment.
app.secret_key = 'an example'
app.config['MAX_CONTENT_LENGTH'] = 1024 * 1024


@app.get('/')
def page():
    session['visits'] = session.get('visits', 0) + 1
    return f'<!doctype html><title>Bytes</title><h1>Bytes</h1><p>Visit {session["visits"]}</p>'


@app.post('/histogram')
def histogram():
    counts = [0] * 256
    for byte in request.get_data():
        counts[byte] += 1
    return jsonify(size=sum(counts), counts={byte: count for byte, count in enumerate(counts) if count})


@app.get('/square/<int:size>')
def square(size):
    if not 1 <= size <= 64:
        abort(404)
    head = f'P6 {size} {size} 255\n'.encode()
    return app.response_class(head + b'\xff\x00\x80' * size * size, mimetype='image/x-portable-pixmap')


handler = make_lambda_handler(app, binary_support=True)
