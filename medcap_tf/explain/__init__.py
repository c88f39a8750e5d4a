"""Why the captioner wrote what it wrote: pictures, a report, and an audit of how far they can be trusted."""
