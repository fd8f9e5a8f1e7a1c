"""TFRecord files of tf.Example and tf.SequenceExample."""
