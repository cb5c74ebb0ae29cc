"""Looking inside: vocabularies, parameters, and what a tagger did with a sentence and where it did it."""
