"""The multilayer perceptron and its parts: activations, losses, initializers, as pure functions and tables."""
