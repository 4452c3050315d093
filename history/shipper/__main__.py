"""``python -m history.shipper [--once]``: ships the journal until told to stop; with ``--once`` until it is empty.

Sets Django up with the database and this app only, which takes half the memory of the console's set-up.
"""

from __future__ import annotations

import argparse
import sys

from django.conf import settings

from routing_project.env import EnvError, get_env
from routing_project.logs import configure
from routing_project.metrics.joining import join


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m history.shipper", description="Ship the journal into the database."
    )
    parser.add_argument("--once", action="store_true", help="stop when the journal is empty")
    arguments = parser.parse_args()
    try:
        env = get_env()
        env.make_folders()
        join(env, "shipper")
    except (EnvError, OSError) as error:
        print(f"history.shipper: {error}", file=sys.stderr)
        return 1
    configure("shipper", env.log_format)
    from routing_project import settings as console

    settings.configure(
        DATABASES=console.DATABASES,
        DEFAULT_AUTO_FIELD=console.DEFAULT_AUTO_FIELD,
        INSTALLED_APPS=["history"],
        SECRET_KEY=console.SECRET_KEY,
        TIME_ZONE=console.TIME_ZONE,
        USE_TZ=console.USE_TZ,
        LOGGING_CONFIG=None,
        PROMETHEUS_LATENCY_BUCKETS=console.PROMETHEUS_LATENCY_BUCKETS,
    )
    import django

    django.setup()
    from history.shipper.process import ShipperProcess

    process = ShipperProcess(env)
    process.handle_signals()
    return process.run(once=arguments.once)


if __name__ == "__main__":
    sys.exit(main())
