#!/usr/bin/env python
"""Runs Django's commands on the example shop."""

import os
import sys

if __name__ == "__main__":
    settings = os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_shop.settings")
    from django.core.management import execute_from_command_line

    from example_shop import database

    if settings == "example_shop.settings":
        try:
            database.ensure_running()
        except database.DatabaseUnavailable as error:
            sys.exit(str(error))
    execute_from_command_line(sys.argv)
