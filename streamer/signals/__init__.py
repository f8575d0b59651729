"""Counting signals: pairs of items (transition, co-visit) and trends at several half-lives, sparse and bounded."""
