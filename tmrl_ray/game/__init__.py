"""A game seen from outside: protocol, state bytes, clients, processes and files. No simulator, no torch, no Ray."""
