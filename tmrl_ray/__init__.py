"""Train agents to race TrackMania Nations Forever, on a laptop or a Ray cluster.

The packages, from what everything stands on to what people type:

* ``errors``, ``config``: the exception tree, the configuration models and their loading;
* ``game``: a game seen from outside: its wire protocol, its state bytes, clients, processes and files;
* ``simulator``: a TrackMania-like game that speaks that protocol;
* ``racing``: a race seen from the agent: actions, line, observation, reward, rollouts, drivers;
* ``commands``, ``cli``: the ``tmrl-ray`` command.
"""

__version__ = "0.1.0"
