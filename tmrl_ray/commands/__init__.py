"""The subcommands of ``tmrl-ray``: they parse, validate and call; each module is loaded when it is used."""
