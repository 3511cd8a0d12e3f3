"""Our estimators in the place of scikit-learn's networks: equal parameters, equal arrays, in turn."""
