"""The Ray actors of collecting: thin shells around the plain classes, and clients that speak to them.

With ``learner.remote`` the only place that imports Ray. The parts know each other by the interfaces of the plain
classes, which the clients implement.
"""
