"""Prequential quality."""
