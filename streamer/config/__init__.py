"""The configuration: one frozen tree, loaded from TOML and environment."""

from streamer.config.load import ConfigError, from_environment, load, public_dict
from streamer.config.tree import Config

__all__ = ["Config", "ConfigError", "from_environment", "load", "public_dict"]
