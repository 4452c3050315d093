"""Django's two engines with their statements counted and timed, under django-prometheus's names (``counting``). Its own
engines make a class for every cursor and look every series up at every statement, which costs 30 µs; these cost 5."""
