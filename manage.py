#!/usr/bin/env python
"""Django's command line; ``serve`` is taken before Django loads, so that the supervisor stays small."""

import os
import sys

#: Commands that stay, and count with the other processes of the installation (name in ``/metrics``).
COUNTING = {"runserver": "console", "ship_history": "shipper"}


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "serve" and "--help" not in sys.argv and "-h" not in sys.argv:
        from routing_project.supervise import main as serve

        sys.exit(serve(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")
    count(sys.argv[1] if len(sys.argv) > 1 else "")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


def count(command: str) -> None:
    """Before Django loads, whose metrics are made with it."""
    from routing_project.env import EnvError, get_env, use_no_metrics_folder

    if command not in COUNTING:
        use_no_metrics_folder()
        return
    from routing_project.metrics.joining import join

    try:
        join(get_env(), COUNTING[command])
    except (EnvError, OSError) as error:
        sys.exit(f"{command}: {error}")


if __name__ == "__main__":
    main()
