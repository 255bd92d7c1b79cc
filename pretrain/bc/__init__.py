"""The stage that clones behaviour: encoder and heads learn what an expert did."""
