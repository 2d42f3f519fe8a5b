#!/usr/bin/env python
"""Runs Django's commands on the example shop."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_shop.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
