"""The vocoded proxy of LA: see la_proxy.yaml and docs/corpus.md."""
