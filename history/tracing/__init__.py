"""OpenTelemetry traces, made from the journal's records after a request is over: a request costs its gateway nothing
but two headers. ``ids`` is what gateways and the shipper agree on, ``spans`` makes spans of records, ``export`` sends
them. What is off is not imported: OpenTelemetry's packages are optional (the ``otel`` extra).
"""
