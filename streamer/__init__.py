"""Streamer: a streaming online-learning recommender."""

__version__ = "0.1.0"
