"""TextClassifier, SequenceTagger, LanguageModel and what they are made of."""
