"""The factory under the import path of seed 1; it is `penstock.sdk.provider_factory`."""

from penstock.sdk.provider_factory import ProviderFactory

__all__ = ["ProviderFactory"]
