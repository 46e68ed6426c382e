"""What gunicorn serves: ``gunicorn --config python:kinesis_admin.gunicorn kinesis_admin.wsgi``."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kinesis_admin.settings")
application = get_wsgi_application()
