"""Other frameworks on the same training: from our first weights, over our batches, each in a process of its own."""
