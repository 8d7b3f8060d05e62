"""Where things are kept that outlive a request. ``base`` is the contract; one file per store."""
