from slugify import slugify


def handle(request):
    return {'slug': slugify(request['title'])}
