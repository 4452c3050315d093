#!/usr/bin/env python
"""Django's command line; ``serve`` is taken before Django loads, so that the supervisor stays small."""

import os
import sys


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "serve" and "--help" not in sys.argv and "-h" not in sys.argv:
        from routing_project.supervise import main as serve

        sys.exit(serve(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
