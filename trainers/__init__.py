"""Training with tf.distribute that survives its workers, export, evaluation and versioned push."""
