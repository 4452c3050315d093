"""``/metrics``: one scrape for every process of the installation (``view``), and what the console itself counts
(``counting``, ``middleware``)."""
