"""The site as a WSGI application: `example_shop.wsgi.application`."""

import os

from django.core.wsgi import get_wsgi_application

from . import database

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_shop.settings")
database.ensure_running()
application = get_wsgi_application()
