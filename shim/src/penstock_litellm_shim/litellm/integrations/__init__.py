"""`litellm.integrations`: what hears of calls."""
