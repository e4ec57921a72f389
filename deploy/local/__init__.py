"""The one-machine stack: a PostgreSQL and a broker of one's own, without root, Docker or anything preinstalled.

`postgres` and `broker` each drive one server; `stack` holds both under a supervisor that dies with its owner.
"""
