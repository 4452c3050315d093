"""Copies of what clients send and are answered, while ``SIGNALBOX_HISTORY_PAYLOADS`` asks for them (docs/payloads.md).

``copy`` gathers an answer on its way to the client, ``excerpts`` cuts bodies to what is kept, ``redaction`` takes
secrets out, ``recorder`` puts the three together and writes the journal. A gateway that keeps none imports none of it.
"""
