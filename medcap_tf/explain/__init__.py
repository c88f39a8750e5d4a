"""Why the captioner generated what it did: pictures, a report, and an audit of how far they can be trusted."""
