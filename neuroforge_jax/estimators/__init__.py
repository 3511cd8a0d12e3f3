"""What scikit-learn's interface asks of this engine: parameters, targets, rows, the stopping rule, the training."""
