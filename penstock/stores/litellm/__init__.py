"""What LiteLLM keeps in its database, as rows of ours. Only `penstock import litellm` imports this."""
