"""`litellm.types`: the classes of answers."""
