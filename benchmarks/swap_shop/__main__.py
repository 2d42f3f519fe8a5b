"""Runs Django's commands one after the other: python -m swap_shop COMMAND ... + COMMAND ..."""

import sys
from itertools import groupby

import django
from django.core.management import execute_from_command_line

from . import celery  # noqa: F401  A shop's package imports its app, so that saves ring its bell.

django.setup()
for is_separator, words in groupby(sys.argv[1:], lambda word: word == "+"):
    if not is_separator:
        execute_from_command_line(["swap_shop", *words])
