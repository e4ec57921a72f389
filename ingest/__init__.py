"""From the broker into the database, and the way back out.

A payload comes in at `consumer`, `decode` reads it into columns, `store` writes it (the payload itself into
``message``, its values into ``reading``) in one transaction, and only then is it acknowledged. Jobs learn from
`feed` what is new, read it with `read` and write their products with `products`. What cannot be stored as it came
is kept in ``message`` with the reason; `aside` lists, mends and replays it, and `rebuild` makes any window of
``reading`` again from ``message``. SQL lives in this package and nowhere else.
"""
