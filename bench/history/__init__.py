"""The history at size: `python -m bench.history COMMAND`. Fills a database with rows of a real distribution; measures.

    python -m bench.history postgres --folder DIR                     # a PostgreSQL to measure in; Ctrl+C ends it
    python -m bench.history fill --rows 5000000 --database-url URL    # rows as the shipper writes them
    python -m bench.history size --database-url URL                   # bytes a request, by table and index
    python -m bench.history search --database-url URL                 # p95 of every kind of page
    python -m bench.history explain --database-url URL                # docs/history_queries.md anew
    python -m bench.history statistics --database-url URL             # rollups: time, and counts against a recount
    python -m bench.history export --database-url URL                 # rows/s and memory
    python -m bench.history stable --database-url URL                 # pages while 500 rows/s arrive
    python -m bench.history ship                                      # rows/s of the shipper, and what traffic feels

Without ``--database-url`` it works on a SQLite file in ``--folder``. Development only, as all of ``bench``.
"""
