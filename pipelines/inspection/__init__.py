"""Looking inside: vocabularies, parameters, a tagger's tags, activations, layers and saliency."""
