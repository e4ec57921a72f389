"""The network page: how stations stand, their series with flags, calibrations, the latest cross-check.

What a visitor sees is made by Bokeh sessions whose connections to the database can only read, whoever looks. The one
thing that writes is an HTTP request, `/flag`, which proves each time who makes it, and uses a connection of its own.
So nothing that is said over a session's websocket, forged or not, can write anything.

=============  ==================================================
`users`        the file of those who may flag
`logins`       who is logged in; who tried too often
`store`        the connections, and what all visitors share
`network`      the map and the table of stations
`timeseries`   the series, as fine as the screen
`quality`      calibrations and targets
`comparison`   the table of a cross-check
`page`         a visitor's session: all of these put together
`requests`     the HTTP requests: page, login, logout, flag
`server`       address, TLS, origins
=============  ==================================================
"""
