"""From frames to one embedding an utterance."""
