"""Where deployments come from. ``base`` is the contract; one file per source, and one line each in ``registered``."""
