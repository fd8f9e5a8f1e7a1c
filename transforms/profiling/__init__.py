"""Profiling: what a data set holds, feature by feature, as mergeable states that one pass fills."""
