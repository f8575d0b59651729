"""Judging recommenders on recorded streams: metrics, baselines, the backtest and its report."""
