"""Import paths of projects that stand already: this folder is put on `PYTHONPATH`, and their imports find us.

    export PYTHONPATH=$(python -m penstock.compat)

Then `services.litellm_service`, `sources.provider_factory`, `sources.providers.litellm_provider`,
`routers.litellm_router` and `api` are those of here. Nothing in Penstock imports them. See docs/las.md.
"""
