"""Greets whoever the request names."""


def handle(request):
    name = request.get('name', 'world')
    return {'greeting': f'Hello, {name}!'}
