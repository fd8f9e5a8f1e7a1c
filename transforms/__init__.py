"""Full passes over a data set: TensorFlow Transform analyzers and transforms on any Beam runner."""
