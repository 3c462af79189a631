"""Who keeps a lake small and sound: compaction, checkpoints, retention, vacuum, scrubbing, adoption, backup."""
