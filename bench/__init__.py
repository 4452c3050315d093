"""The benchmark: `python -m bench`. Measures the gateway next to references in the same run; see RESULTS.md.

Development only: it may use the tests' builders and the simulated upstream, and nothing may import it.
"""
