"""Many machines, or many processes of one: bulk captioning and training on Ray, the extra `cluster`."""
