"""The outside world behind ports: each adapter is the only importer of its library."""
