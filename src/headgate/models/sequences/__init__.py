"""SequenceClassifier and SequenceRegressor."""
