"""The shipper: carries journal records into the database, in a process of its own (``python -m history.shipper``).

``folder`` is the disk side, ``store`` the database side, ``shipper`` the loop between them, ``teller`` what tells the
live feed, ``__main__`` the process.
"""
