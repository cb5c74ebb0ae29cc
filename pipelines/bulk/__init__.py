"""Answers a corpus of many files: one output shard for each input shard, here or on a cluster."""
